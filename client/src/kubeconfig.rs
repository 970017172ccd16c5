//! Where and as whom to connect: `KUBECONFIG`, then `~/.kube/config`, then the default data
//! directory's kubeconfig.

use std::path::{Path, PathBuf};

use kube::config::{KubeConfigOptions, Kubeconfig};

/// The name of the administrator's kubeconfig in a data directory.
pub const ADMIN_KUBECONFIG: &str = "admin.kubeconfig";
/// Written by `gantry up` for its administrator.
pub const DEFAULT_ADMIN_KUBECONFIG: &str = "/var/lib/gantry/admin.kubeconfig";

/// Why no client can be made.
#[derive(Debug, thiserror::Error)]
pub enum KubeconfigError {
    /// None of the usual places has one.
    #[error(
        "no kubeconfig: KUBECONFIG is not set, and neither {home} nor {admin} exists; start a cluster with `gantry up`, or name its kubeconfig in KUBECONFIG"
    )]
    NotFound {
        /// The place in the user's home.
        home: String,
        /// The default data directory's.
        admin: &'static str,
    },
    /// The file cannot be read or lacks what it refers to.
    #[error("kubeconfig {path}: {source}")]
    Unusable {
        /// Which file.
        path: String,
        /// What is wrong with it.
        #[source]
        source: Box<kube::config::KubeconfigError>,
    },
    /// The configuration gives no working client.
    #[error("cannot make a client from the kubeconfig: {source}")]
    Client {
        /// What is wrong.
        #[source]
        source: Box<kube::Error>,
    },
}

/// The files to merge, first found place only. `KUBECONFIG` may name several, separated by colons.
///
/// # Errors
/// [`KubeconfigError::NotFound`].
pub fn locate() -> Result<Vec<PathBuf>, KubeconfigError> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let variable = std::env::var_os("KUBECONFIG").unwrap_or_default();
    choose(&variable, &home, &|path| path.exists())
}

fn choose(
    variable: &std::ffi::OsStr,
    home: &Path,
    exists: &dyn Fn(&Path) -> bool,
) -> Result<Vec<PathBuf>, KubeconfigError> {
    let listed: Vec<PathBuf> =
        std::env::split_paths(variable).filter(|p| !p.as_os_str().is_empty()).collect();
    if listed.len() == 1 {
        return Ok(listed);
    }
    let present: Vec<PathBuf> = listed.into_iter().filter(|p| exists(p)).collect();
    if !present.is_empty() {
        return Ok(present);
    }
    let in_home = home.join(".kube/config");
    [in_home.clone(), PathBuf::from(DEFAULT_ADMIN_KUBECONFIG)]
        .into_iter()
        .find(|p| exists(p))
        .map(|p| vec![p])
        .ok_or_else(|| KubeconfigError::NotFound {
            home: in_home.display().to_string(),
            admin: DEFAULT_ADMIN_KUBECONFIG,
        })
}

/// The kubeconfig at `path`, or the merged ones that [`locate`] finds, with the name for messages.
///
/// # Errors
/// When there is none, or one cannot be read.
pub fn merged(path: Option<&Path>) -> Result<(Kubeconfig, String), KubeconfigError> {
    let paths = match path {
        Some(path) => vec![path.to_owned()],
        None => locate()?,
    };
    let name = paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(":");
    let unusable = |source| KubeconfigError::Unusable { path: name.clone(), source: Box::new(source) };
    let mut merged: Option<Kubeconfig> = None;
    for path in &paths {
        let next = Kubeconfig::read_from(path).map_err(unusable)?;
        merged = Some(match merged {
            Some(first) => first.merge(next).map_err(unusable)?,
            None => next,
        });
    }
    Ok((merged.unwrap_or_default(), name))
}

/// Connection settings from [`merged`] kubeconfigs, with a context, cluster and user of choice.
///
/// # Errors
/// When there is no kubeconfig, or it cannot be used.
pub async fn config(
    path: Option<&Path>,
    options: &KubeConfigOptions,
) -> Result<kube::Config, KubeconfigError> {
    let (merged, name) = merged(path)?;
    kube::Config::from_custom_kubeconfig(merged, options)
        .await
        .map_err(|source| KubeconfigError::Unusable { path: name, source: Box::new(source) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(variable: &str, existing: &[&str], expect: Option<&[&str]>) {
        let exists = |p: &Path| existing.iter().any(|e| Path::new(e) == p);
        let got = choose(variable.as_ref(), Path::new("/home/u"), &exists).ok();
        let expect = expect.map(|paths| paths.iter().map(PathBuf::from).collect::<Vec<_>>());
        assert_eq!(got, expect, "KUBECONFIG={variable:?} with {existing:?}");
    }

    #[test]
    fn first_place_wins() {
        check("/a", &["/home/u/.kube/config"], Some(&["/a"]));
        check("/a:/b", &["/b"], Some(&["/b"]));
        check("", &["/home/u/.kube/config", DEFAULT_ADMIN_KUBECONFIG], Some(&["/home/u/.kube/config"]));
        check("", &[DEFAULT_ADMIN_KUBECONFIG], Some(&[DEFAULT_ADMIN_KUBECONFIG]));
        check("", &[], None);
    }
}
