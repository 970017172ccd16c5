//! One writer: creates, changes and deletes objects of its own for as long as it is told to.
//!
//! What a dying server left without an answer is asked for again; each request is such that asking twice
//! does once.

use std::collections::BTreeMap;

use tokio::sync::watch;

use crate::client::{Connection, Gone, revision};
use crate::process::Told;

/// Names of one writer; few, so that each is created and deleted many times.
const NAMES: u32 = 5;

pub struct Work {
    pub number: u16,
    /// Acknowledged writes of all writers.
    pub progress: watch::Sender<u64>,
    pub over: watch::Receiver<bool>,
}

/// What a writer was told.
pub struct Written {
    pub number: u16,
    /// Steps that are done: 0 creates a name, 1 changes it, 2 deletes it, 3 creates the next, …
    pub steps: u32,
    /// Revisions that were told, and of which step.
    pub told: BTreeMap<u64, u32>,
}

/// The name a step is about.
pub fn name(writer: u16, step: u32) -> String {
    format!("w{writer}-{}", step / 3 % NAMES)
}

impl Work {
    pub async fn write(self, mut told: Told) -> Written {
        let mut done = Written { number: self.number, steps: 0, told: BTreeMap::new() };
        let mut life = told.life(|_| true).await;
        loop {
            // Ends for the server's end, or for the test's.
            if self.write_on(&life, &mut done).await.is_ok() {
                return done;
            }
            life = told.life(|number| number > life.number).await;
        }
    }

    async fn write_on(&self, life: &crate::process::Life, done: &mut Written) -> Result<(), Gone> {
        let mut connection = Connection::open(life).await?;
        while !*self.over.borrow() {
            let (step, name) = (done.steps, name(self.number, done.steps));
            let (code, object) = match step % 3 {
                0 => connection.create(&name, step).await?,
                1 => connection.change(&name, step).await?,
                _ => connection.delete(&name).await?,
            };
            match (step % 3, code) {
                (0, 201) | (1, 200) => {
                    let before = done.told.insert(revision(&object), step);
                    assert_eq!(before, None, "one revision for two writes: {object}");
                }
                // 409 and 404: it was done, though the answer was lost.
                (0, 409) | (2, 200 | 404) => {}
                _ => panic!("step {step} of {name} was answered with {code}: {object}"),
            }
            done.steps += 1;
            self.progress.send_modify(|count| *count += 1);
        }
        Ok(())
    }
}
