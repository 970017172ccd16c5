//! Which ids a container runs as: its configuration against `/etc/passwd` and `/etc/group` of the image.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::container_runtime::ContainerConfig;
use crate::os::in_root;

/// The resolved ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Further groups.
    pub groups: Vec<u32>,
    /// Home directory, `/` if unknown.
    pub home: String,
}

/// Resolves the user of a container in its root file system.
///
/// # Errors
/// A text for people when a name is unknown or root is refused.
pub fn resolve(root: BorrowedFd<'_>, config: &ContainerConfig) -> Result<User, String> {
    let read = |path: &str| -> Result<String, String> {
        match in_root::read(root, Path::new(path)) {
            Ok(text) => Ok(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            Err(error) => Err(format!("read {path} of the image: {error}")),
        }
    };
    decide(config, &read("/etc/passwd")?, &read("/etc/group")?)
}

fn decide(config: &ContainerConfig, passwd: &str, group: &str) -> Result<User, String> {
    let (wanted, wanted_group) = match config.user.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (config.user.as_str(), None),
    };
    let wanted = if wanted.is_empty() { "0" } else { wanted };
    let entry = rows(passwd)
        .filter(|row| row.len() >= 6)
        .find(|row| row[0] == wanted || (number(wanted).is_some() && number(wanted) == number(row[2])));
    let uid = number(wanted).or_else(|| entry.as_ref().and_then(|row| number(row[2])));
    let uid =
        uid.ok_or_else(|| format!("unable to find user {wanted}: no matching entries in passwd file"))?;
    let own_group = match wanted_group {
        Some(name) => Some(group_id(name, group)?),
        None => entry.as_ref().and_then(|row| number(row[3])),
    };
    let gid = config.run_as_group.or(own_group).unwrap_or(0);
    if config.run_as_non_root && uid == 0 {
        return Err("container has runAsNonRoot and image will run as root".to_owned());
    }
    let mut groups: BTreeSet<u32> = config.supplemental_groups.iter().copied().collect();
    if let Some(row) = &entry {
        groups.extend(member_of(row[0], group));
    }
    groups.insert(gid);
    let home = entry.map(|row| row[5].to_owned()).filter(|home| !home.is_empty());
    Ok(User { uid, gid, groups: groups.into_iter().collect(), home: home.unwrap_or_else(|| "/".to_owned()) })
}

fn group_id(name: &str, group: &str) -> Result<u32, String> {
    number(name)
        .or_else(|| rows(group).find(|row| row.len() >= 3 && row[0] == name).and_then(|row| number(row[2])))
        .ok_or_else(|| format!("unable to find group {name}: no matching entries in group file"))
}

fn member_of<'a>(user: &'a str, group: &'a str) -> impl Iterator<Item = u32> + 'a {
    rows(group)
        .filter(move |row| row.len() >= 4 && row[3].split(',').any(|member| member == user))
        .filter_map(|row| number(row[2]))
}

fn rows(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines().map(|line| line.trim().split(':').collect())
}

fn number(text: &str) -> Option<u32> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:101:102::/srv:/bin/false\nodd\n";
    const GROUP: &str = "root:x:0:\nweb:x:102:\nadm:x:4:syslog,web\n";

    fn config(user: &str) -> ContainerConfig {
        ContainerConfig { user: user.to_owned(), ..ContainerConfig::default() }
    }

    #[test]
    fn names_and_numbers() {
        let check = |user: &str, expect: (u32, u32, &[u32], &str)| {
            let found = decide(&config(user), PASSWD, GROUP).unwrap();
            assert_eq!(
                (found.uid, found.gid, found.groups.as_slice(), found.home.as_str()),
                expect,
                "{user}"
            );
        };
        check("", (0, 0, &[0], "/root"));
        check("web", (101, 102, &[4, 102], "/srv"));
        check("101", (101, 102, &[4, 102], "/srv"));
        check("web:adm", (101, 4, &[4], "/srv"));
        check("7:9", (7, 9, &[9], "/"));
        check("7", (7, 0, &[0], "/"));
    }

    #[test]
    fn overrides_and_refusals() {
        let mut chosen = config("web");
        chosen.run_as_group = Some(5);
        chosen.supplemental_groups = vec![2000];
        let found = decide(&chosen, PASSWD, GROUP).unwrap();
        assert_eq!((found.gid, found.groups), (5, vec![4, 5, 2000]));
        assert!(decide(&config("nobody"), PASSWD, GROUP).is_err());
        assert!(decide(&config("0:nogroup"), PASSWD, GROUP).is_err());
        let mut refused = config("");
        refused.run_as_non_root = true;
        let text = decide(&refused, PASSWD, GROUP).unwrap_err();
        assert_eq!(text, "container has runAsNonRoot and image will run as root");
    }
}
