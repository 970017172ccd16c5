//! The last step into a container: find the program, become the user's program. Shared by create and exec.

use std::ffi::{CStr, CString};
use std::path::Path;

use nix::errno::Errno;
use nix::unistd::{AccessFlags, faccessat};

/// Where programs are looked for when the environment has no PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Arguments and environment in the form `execve(2)` takes.
#[derive(Debug)]
pub struct Workload {
    program: String,
    path: String,
    args: Vec<CString>,
    env: Vec<CString>,
}

impl Workload {
    /// Prepares a command.
    ///
    /// # Errors
    /// A text for people when it is empty or holds a zero byte.
    pub fn new(args: &[String], env: &[String]) -> Result<Self, String> {
        let program = args.first().ok_or_else(|| "no command specified".to_owned())?.clone();
        let path = env.iter().rev().find_map(|pair| pair.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH);
        let c_strings = |texts: &[String]| -> Result<Vec<CString>, String> {
            texts
                .iter()
                .map(|text| {
                    CString::new(text.as_str()).map_err(|_| format!("{text:?}: must not contain a zero byte"))
                })
                .collect()
        };
        Ok(Self { program, path: path.to_owned(), args: c_strings(args)?, env: c_strings(env)? })
    }

    /// Where the program is, for the process that asks (its root, directory, user).
    ///
    /// # Errors
    /// A text for people, in the words users of other runtimes know.
    pub fn locate(&self) -> Result<CString, String> {
        let quoted = format!("exec: {:?}", self.program);
        if self.program.contains('/') {
            return match executable(&self.program) {
                Ok(found) => Ok(found),
                Err(Errno::ENOENT) => {
                    Err(format!("{quoted}: stat {}: no such file or directory", self.program))
                }
                Err(error) => Err(format!("{quoted}: {}", lower(error))),
            };
        }
        let mut denied = false;
        for directory in self.path.split(':') {
            let directory = if directory.is_empty() { "." } else { directory };
            match executable(&format!("{directory}/{}", self.program)) {
                Ok(found) => return Ok(found),
                Err(Errno::EACCES) => denied = true,
                Err(_) => {}
            }
        }
        let reason = if denied { "permission denied" } else { "executable file not found in $PATH" };
        Err(format!("{quoted}: {reason}"))
    }

    /// Becomes the program; returns only if that failed.
    pub fn exec(&self) -> String {
        let located = match self.locate() {
            Ok(located) => located,
            Err(reason) => return reason,
        };
        match nix::unistd::execve::<&CStr, &CStr>(&located, &refs(&self.args), &refs(&self.env)) {
            Ok(never) => match never {},
            Err(Errno::ENOEXEC) => format!("exec {}: exec format error", located.to_string_lossy()),
            Err(error) => format!("exec {}: {}", located.to_string_lossy(), lower(error)),
        }
    }
}

fn refs(strings: &[CString]) -> Vec<&CStr> {
    strings.iter().map(CString::as_c_str).collect()
}

fn executable(path: &str) -> Result<CString, Errno> {
    let found = CString::new(path).map_err(|_| Errno::EINVAL)?;
    if Path::new(path).is_dir() {
        return Err(Errno::EACCES);
    }
    faccessat(nix::fcntl::AT_FDCWD, path, AccessFlags::X_OK, nix::fcntl::AtFlags::AT_EACCESS)?;
    Ok(found)
}

fn lower(error: Errno) -> String {
    error.desc().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locate(program: &str) -> Result<String, String> {
        let workload = Workload::new(&[program.to_owned()], &["PATH=/nowhere:/bin".to_owned()]).unwrap();
        workload.locate().map(|found| found.into_string().unwrap())
    }

    #[test]
    fn programs_are_found_or_explained() {
        assert_eq!(locate("sh").unwrap(), "/bin/sh");
        assert_eq!(locate("/bin/sh").unwrap(), "/bin/sh");
        assert_eq!(locate("nope").unwrap_err(), "exec: \"nope\": executable file not found in $PATH");
        assert_eq!(locate("/no/pe").unwrap_err(), "exec: \"/no/pe\": stat /no/pe: no such file or directory");
        assert_eq!(locate("/bin").unwrap_err(), "exec: \"/bin\": permission denied");
        assert!(Workload::new(&[], &[]).is_err());
    }
}
