//! One watcher: follows a collection as a client does, through all lives of the server.
//!
//! It goes on from the last revision it saw. When the server has forgotten that one (410), it lists and goes
//! on from the list.

use futures::StreamExt as _;
use tokio::sync::watch;

use crate::client::{self, END, Gone, Line, List};
use crate::process::{Life, Told};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Added,
    Modified,
    Deleted,
}

/// An event that was seen. Ten million of them fit into memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    pub revision: u64,
    pub writer: u16,
    pub step: u32,
    pub kind: Kind,
}

/// What was seen between two lists.
pub struct Part {
    /// The revision it began at.
    pub from: u64,
    /// The list it began with; none where the test began.
    pub list: Option<List>,
    pub events: Vec<Seen>,
    /// The revision up to which all was seen.
    pub upto: u64,
}

/// What one watcher saw.
pub struct Log {
    pub parts: Vec<Part>,
}

enum Ended {
    /// All was seen.
    Done,
    /// The revision is forgotten.
    Expired,
}

impl Log {
    fn part(&mut self) -> &mut Part {
        self.parts.last_mut().expect("there is always one")
    }

    fn begin(&mut self, from: u64, list: Option<List>) {
        self.parts.push(Part { from, list, events: Vec::new(), upto: from });
    }

    /// Takes in a line; says whether the revision is still known.
    fn take(&mut self, line: &Line) -> bool {
        let Line { kind, object } = line;
        if kind == "ERROR" {
            assert_eq!(object.code, Some(410), "the only error that may come");
            return false;
        }
        let revision: u64 = object.metadata.resource_version.parse().expect("a revision");
        let part = self.part();
        let kind = match kind.as_str() {
            "BOOKMARK" => {
                assert!(revision >= part.upto, "a bookmark goes back from {} to {revision}", part.upto);
                part.upto = revision;
                return true;
            }
            "ADDED" => Kind::Added,
            "MODIFIED" => Kind::Modified,
            "DELETED" => Kind::Deleted,
            other => panic!("an event of type {other}"),
        };
        assert!(revision > part.upto, "{} was seen, and then came {revision}", part.upto);
        part.upto = revision;
        if object.metadata.name != END {
            let name = object.metadata.name.strip_prefix('w').and_then(|name| name.split_once('-'));
            let writer = name.expect("a writer's").0.parse().expect("a number");
            let step: u32 = object.data["step"].parse().expect("a number");
            // What is deleted shows the step before.
            let step = step + u32::from(kind == Kind::Deleted);
            part.events.push(Seen { revision, writer, step, kind });
        }
        true
    }
}

/// Watches from a revision on until it has seen `last`; one that `wakes` only in a later life is away
/// from the end of the first one on.
pub async fn follow(mut told: Told, from: u64, last: watch::Receiver<u64>, wakes: Option<usize>) -> Log {
    let mut log = Log { parts: Vec::new() };
    log.begin(from, None);
    let mut life = told.life(|_| true).await;
    loop {
        match watch(&life, &mut log, last.clone()).await {
            Ok(Ended::Done) => return log,
            Ok(Ended::Expired) => {
                if let Ok(list) = client::list(&life).await {
                    log.begin(list.revision, Some(list));
                    continue;
                }
            }
            Err(Gone) => {}
        }
        let next = wakes.unwrap_or_default().max(life.number + 1);
        life = told.life(|number| number >= next).await;
    }
}

/// One watch, to its end.
async fn watch(life: &Life, log: &mut Log, mut last: watch::Receiver<u64>) -> Result<Ended, Gone> {
    let mut lines = client::watch(life, log.part().upto).await?;
    loop {
        let upto = log.part().upto;
        let line = tokio::select! {
            line = lines.next() => line.ok_or(Gone)?,
            end = last.wait_for(|last| *last <= upto) => {
                end.expect("the test goes on");
                return Ok(Ended::Done);
            }
        };
        if !log.take(&line) {
            return Ok(Ended::Expired);
        }
    }
}
