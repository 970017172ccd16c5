//! Fields that somebody else owns with another value.

use super::managed::{Manager, Operation};
use crate::patch::field_set::{Path, Shown};
use crate::status::{Cause, Reason, Status};

/// One field, and who owns it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The owner.
    pub manager: Manager,
    /// The field.
    pub path: Path,
}

/// All conflicts of an apply, by manager.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conflicts(pub Vec<Conflict>);

impl Conflicts {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// 409 with a cause per field.
    pub fn status(&self) -> Status {
        let mut status = Status::new(Reason::Conflict, self.to_string());
        status.causes = self
            .0
            .iter()
            .map(|conflict| Cause {
                reason: "FieldManagerConflict",
                field: Shown(&conflict.path).to_string(),
                message: format!("conflict with {}", shown(&conflict.manager)),
            })
            .collect();
        status
    }
}

impl std::fmt::Display for Conflicts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let [one] = self.0.as_slice() {
            let path = Shown(&one.path);
            return write!(f, "Apply failed with 1 conflict: conflict with {}: {path}", shown(&one.manager));
        }
        write!(f, "Apply failed with {} conflicts: ", self.0.len())?;
        let mut last = None;
        for (at, conflict) in self.0.iter().enumerate() {
            let line = if at == 0 { "" } else { "\n" };
            if last != Some(&conflict.manager) {
                write!(f, "{line}conflicts with {}:", shown(&conflict.manager))?;
                last = Some(&conflict.manager);
            }
            write!(f, "\n- {}", Shown(&conflict.path))?;
        }
        Ok(())
    }
}

/// `"kubectl" with subresource "scale" using apps/v1`.
fn shown(manager: &Manager) -> String {
    let mut text = format!("{:?}", manager.name);
    if !manager.subresource.is_empty() {
        text = format!("{text} with subresource {:?}", manager.subresource);
    }
    match manager.operation {
        Operation::Update => format!("{text} using {}", manager.api_version),
        Operation::Apply => text,
    }
}
