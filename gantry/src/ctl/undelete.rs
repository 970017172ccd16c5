//! `gantry undelete`: brings back objects that were deleted, each with what was deleted because of it.
//!
//! Entry point: [`run`]; [`plan`] decides, purely, what comes back and in which order. Objects come back
//! through the ordinary API with new uids, so references between them are linked anew. Each carries the
//! annotation [`ORIGIN`], by which a run that was cut short is taken up again by the next.

mod plan;

use std::collections::BTreeMap;

use anyhow::anyhow;
use serde_json::Value;

use super::connection::{Connection, query};
use super::resources::{Resource, Resources};
use super::undo::DryRun;
use super::{Failure, Outcome, Scope};
use plan::{Act, Origin, Removed, Step};

pub use plan::recreated;

/// Who undeletes, in history and in managed fields.
const MANAGER: &str = "gantry-undelete";
/// Removed objects asked for at once.
const PAGE: &str = "250";

/// Flags of `undelete`.
#[derive(clap::Args)]
pub struct Arguments {
    /// TYPE NAME… or TYPE/NAME…; a namespace comes back with everything in it.
    #[arg(required = true)]
    words: Vec<String>,
    /// Say what would come back: `client` decides here, `server` also has the server check the object itself.
    #[arg(long, value_name = "none|client|server", default_value = "none", num_args = 0..=1, default_missing_value = "client", require_equals = true)]
    dry_run: DryRun,
    #[command(flatten)]
    scope: Scope,
}

/// Brings objects back; one's failure does not keep the others away.
pub async fn run(connection: &Connection, arguments: Arguments) -> Outcome {
    let resources = Resources::discover(connection).await?;
    let namespace = connection.namespace(&arguments.scope);
    let work = Work { connection, resources: &resources, dry_run: arguments.dry_run };
    let mut failures = Vec::new();
    for (resource, name) in resources.several(&arguments.words)? {
        failures.extend(bring_back(&work, resource, &namespace, &name).await.err());
    }
    Failure::all(failures)
}

/// Brings one object back, and what went with it.
async fn bring_back(work: &Work<'_>, resource: &Resource, namespace: &str, name: &str) -> Outcome {
    let mut known = BTreeMap::new();
    let (origin, root) = match work.connection.find(&resource.object(namespace, name)).await? {
        // A run that was cut short is taken up again.
        Some(present) => match Origin::of(&present) {
            Some(origin) => {
                known.insert(origin.uid.clone(), api::object::uid(&present).to_owned());
                (origin, None)
            }
            None => {
                return Err(Failure::from(anyhow!(
                    "{} {name:?} already exists: delete or rename it first",
                    resource.plural_name()
                )));
            }
        },
        None => {
            let root = work.removed_root(resource, namespace, name).await?;
            (root.origin(), Some(root))
        }
    };
    let scope = plan::Scope::of(resource, namespace, name);
    let mut removed: Vec<Removed> = Vec::new();
    for candidate in work.candidates(&scope) {
        let collection = candidate.collection(scope.namespace.as_deref());
        removed.extend(work.removed(candidate, &collection, origin.begun.saturating_sub(1), "").await?);
        if root.is_none() {
            known.extend(work.brought_back(&collection).await?);
        }
    }
    removed.retain(|candidate| root.as_ref().is_none_or(|root| root.uid() != candidate.uid()));
    let steps = plan::plan(root, &origin, removed, &known, scope.whole);
    work.perform(&steps, known).await
}

/// What all parts of a run need.
struct Work<'a> {
    connection: &'a Connection,
    resources: &'a Resources,
    dry_run: DryRun,
}

impl<'a> Work<'a> {
    /// The object itself as it was.
    async fn removed_root(&self, resource: &Resource, namespace: &str, name: &str) -> Outcome<Removed> {
        let collection = resource.collection(Some(namespace));
        let found = self.removed(resource, &collection, 0, &format!("metadata.name={name}")).await?;
        found.into_iter().next_back().ok_or_else(|| {
            Failure::from(anyhow!(
                "{} {name:?} not found among what was deleted; history reaches back a week unless set otherwise",
                resource.plural_name()
            ))
        })
    }

    /// Resources whose objects may have gone along.
    fn candidates(&self, scope: &plan::Scope) -> Vec<&'a Resource> {
        let wanted = |resource: &&Resource| {
            let fits = scope.namespace.is_none() || resource.namespaced;
            fits && ["list", "create"].iter().all(|verb| resource.verbs.iter().any(|v| v == verb))
        };
        self.resources.preferred().filter(wanted).collect()
    }

    /// Removed objects of a collection, removed after a revision.
    async fn removed(
        &self,
        resource: &Resource,
        collection: &str,
        since: u64,
        field_selector: &str,
    ) -> Outcome<Vec<Removed>> {
        let (mut all, mut token, since) = (Vec::new(), String::new(), since.to_string());
        loop {
            let pairs = [
                ("gantry.dev/removed", "true"),
                ("resourceVersion", since.as_str()),
                ("fieldSelector", field_selector),
                ("limit", PAGE),
                ("continue", token.as_str()),
            ];
            let page = self.connection.get(&format!("{collection}{}", query(&pairs))).await?;
            // Kinds that are not stored (metrics) have no past.
            if page["kind"] != "RemovedList" {
                return Ok(all);
            }
            let items = page["items"].as_array().into_iter().flatten();
            all.extend(items.filter_map(|item| Removed::parse(resource, item)));
            match page["metadata"]["continue"].as_str() {
                Some(next) if !next.is_empty() => token = next.to_owned(),
                _ => return Ok(all),
            }
        }
    }

    /// Objects of a collection that an earlier run brought back: old uid to new.
    async fn brought_back(&self, collection: &str) -> Outcome<Vec<(String, String)>> {
        let list = self.connection.get(collection).await?;
        let items = list["items"].as_array().into_iter().flatten();
        let pair = |item: &Value| Some((Origin::of(item)?.uid, api::object::uid(item).to_owned()));
        Ok(items.filter_map(pair).collect())
    }

    /// Does what was planned and says so; goes on after a failure, which the exit code then tells.
    async fn perform(&self, steps: &[Step], mut known: BTreeMap<String, String>) -> Outcome {
        let mut failed = false;
        let suffix = self.dry_run.suffix();
        for (number, step) in steps.iter().enumerate() {
            let shown = step.shown();
            let object = match &step.act {
                Act::Leave(why) => {
                    println!("{shown} left out: {why}");
                    continue;
                }
                Act::Create(object) => object,
            };
            // What lives in a namespace that is not there cannot be checked by the server.
            if self.dry_run == DryRun::Client || (self.dry_run == DryRun::Server && number > 0) {
                println!("{shown} undeleted{suffix}");
                continue;
            }
            match self.create(step, object, &known).await {
                Ok(Created::Now { uid, note }) => {
                    known.insert(step.origin.uid.clone(), uid);
                    println!("{shown} undeleted{note}{suffix}");
                }
                Ok(Created::Before { uid }) => {
                    known.insert(step.origin.uid.clone(), uid);
                    println!("{shown} is already there");
                }
                Err(failure) => {
                    failed = true;
                    eprintln!("{shown} not undeleted: {failure}");
                }
            }
        }
        if steps.is_empty() {
            println!("nothing was left to undelete");
        }
        if failed {
            return Err(Failure::from(anyhow!(
                "not everything came back; the same command tries the rest again"
            )));
        }
        Ok(())
    }

    async fn create(
        &self,
        step: &Step,
        object: &Value,
        known: &BTreeMap<String, String>,
    ) -> Outcome<Created> {
        let mut object = object.clone();
        let mut note = self.link(&mut object, known).await?;
        let namespace = api::object::namespace(&object).to_owned();
        let path = step.resource.object(&namespace, api::object::name(&object));
        if let Some(present) = self.connection.find(&path).await? {
            // Such as a namespace's default service account, which a controller made meanwhile.
            return Ok(Created::Before { uid: api::object::uid(&present).to_owned() });
        }
        let target = format!("{}{}", step.resource.collection(Some(&namespace)), self.dry_run.query(MANAGER));
        let created = match self.connection.post(&target, &object).await {
            Err(failure) if failure.to_string().contains("is already allocated") => {
                plan::forget_addresses(&mut object);
                note.push_str(", with another address because its own is taken");
                self.connection.post(&target, &object).await?
            }
            // A controller was quicker.
            Err(failure) if failure.is(409, "AlreadyExists") => {
                let present = self.connection.get(&path).await?;
                return Ok(Created::Before { uid: api::object::uid(&present).to_owned() });
            }
            outcome => outcome?,
        };
        Ok(Created::Now { uid: api::object::uid(&created).to_owned(), note })
    }

    /// Makes owner references point to what is there now; drops those that point to nothing, for the
    /// garbage collector would take the object away again.
    async fn link(&self, object: &mut Value, known: &BTreeMap<String, String>) -> Outcome<String> {
        let namespace = api::object::namespace(object).to_owned();
        let Some(Value::Array(owners)) = api::object::metadata_mut(object).remove("ownerReferences") else {
            return Ok(String::new());
        };
        let (mut kept, mut note) = (Vec::new(), String::new());
        for mut owner in owners {
            let text = |field: &str| owner[field].as_str().unwrap_or_default().to_owned();
            let (uid, name) = (text("uid"), text("name"));
            let now = match known.get(&uid) {
                Some(new) => Some(new.clone()),
                None => self.present_owner(&owner, &namespace, &uid).await?,
            };
            match now {
                Some(uid) => {
                    owner["uid"] = uid.into();
                    kept.push(owner);
                }
                None => note.push_str(&format!(", without its owner {}/{name}", text("kind").to_lowercase())),
            }
        }
        if !kept.is_empty() {
            api::object::metadata_mut(object).insert("ownerReferences".to_owned(), Value::Array(kept));
        }
        Ok(note)
    }

    /// The uid of an owner that still exists, or came back in an earlier run.
    async fn present_owner(&self, owner: &Value, namespace: &str, uid: &str) -> Outcome<Option<String>> {
        let text = |field: &str| owner[field].as_str().unwrap_or_default();
        let Some(resource) = self.resources.by_kind(text("apiVersion"), text("kind")) else {
            return Ok(None);
        };
        let Some(present) = self.connection.find(&resource.object(namespace, text("name"))).await? else {
            return Ok(None);
        };
        let same =
            api::object::uid(&present) == uid || Origin::of(&present).is_some_and(|origin| origin.uid == uid);
        Ok(same.then(|| api::object::uid(&present).to_owned()))
    }
}

/// The outcome of bringing one object back.
enum Created {
    Now {
        uid: String,
        note: String,
    },
    /// Something of its name is there.
    Before {
        uid: String,
    },
}
