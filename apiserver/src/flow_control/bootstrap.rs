//! The levels and schemas every cluster has: made when they are missing, and kept as upstream keeps them.
//!
//! Entry points: [`run`] at start, then [`keep`]. Mandatory ones always are as `bootstrap.yaml` has them; suggested
//! ones for as long as their annotation `apf.kubernetes.io/autoupdate-spec` is `true`, so an administrator who wants
//! others sets it to `false` (or deletes the object, and finds it made again).

use std::sync::Arc;
use std::time::Duration;

use api::Status;
use futures::StreamExt as _;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{GROUP, LEVELS, SCHEMAS};
use crate::bootstrap::ensure;
use crate::call::{Server, store_status};

const AUTO_UPDATE: &str = "apf.kubernetes.io/autoupdate-spec";

/// Pause before looking again after a failure.
const RETRY: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Bootstrap {
    levels: Vec<LevelRow>,
    schemas: Vec<SchemaRow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LevelRow {
    name: String,
    #[serde(default)]
    mandatory: bool,
    #[serde(default)]
    exempt: bool,
    shares: u64,
    lend: u64,
    queuing: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SchemaRow {
    name: String,
    #[serde(default)]
    mandatory: bool,
    level: String,
    precedence: u64,
    by: Option<String>,
    #[serde(default)]
    users: Vec<String>,
    #[serde(default)]
    groups: Vec<String>,
    /// Namespaces, all of whose service accounts are meant.
    #[serde(default)]
    accounts: Vec<String>,
    resources: Option<Value>,
    paths: Option<Value>,
}

impl LevelRow {
    fn object(&self) -> Value {
        let shares = json!({"nominalConcurrencyShares": self.shares, "lendablePercent": self.lend});
        let spec = if self.exempt {
            json!({"type": "Exempt", "exempt": shares})
        } else {
            let mut limited = shares;
            limited["limitResponse"] = match &self.queuing {
                Some(queuing) => json!({"type": "Queue", "queuing": queuing}),
                None => json!({"type": "Reject"}),
            };
            json!({"type": "Limited", "limited": limited})
        };
        json!({"metadata": {"name": self.name, "annotations": {AUTO_UPDATE: "true"}}, "spec": spec})
    }
}

impl SchemaRow {
    fn object(&self) -> Value {
        let named = |kind: &'static str, field: &'static str| move |name: &String| json!({"kind": kind, field: {"name": name}});
        let account = |namespace: &String| json!({"kind": "ServiceAccount", "serviceAccount": {"name": "*", "namespace": namespace}});
        let subjects: Vec<Value> = (self.users.iter().map(named("User", "user")))
            .chain(self.groups.iter().map(named("Group", "group")))
            .chain(self.accounts.iter().map(account))
            .collect();
        let everything = self.resources.is_none() && self.paths.is_none();
        let mut rule = json!({"subjects": subjects});
        if everything {
            rule["resourceRules"] = json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"],
                                            "namespaces": ["*"], "clusterScope": true}]);
            rule["nonResourceRules"] = json!([{"verbs": ["*"], "nonResourceURLs": ["*"]}]);
        }
        if let Some(resources) = &self.resources {
            rule["resourceRules"] = resources.clone();
        }
        if let Some(paths) = &self.paths {
            rule["nonResourceRules"] = json!([{"verbs": ["get"], "nonResourceURLs": paths}]);
        }
        let mut spec = json!({"matchingPrecedence": self.precedence, "rules": [rule],
                              "priorityLevelConfiguration": {"name": self.level}});
        if let Some(by) = &self.by {
            spec["distinguisherMethod"] = json!({"type": by});
        }
        json!({"metadata": {"name": self.name, "annotations": {AUTO_UPDATE: "true"}}, "spec": spec})
    }
}

/// All of them: plural, object, whether it is mandatory; levels first, which schemas refer to.
pub(super) fn objects() -> Vec<(&'static str, Value, bool)> {
    let parsed: Result<Bootstrap, _> = serde_yaml::from_str(include_str!("bootstrap.yaml"));
    let Ok(Bootstrap { levels, schemas }) = parsed else { return Vec::new() };
    let levels = levels.iter().map(|row| (LEVELS, row.object(), row.mandatory));
    levels.chain(schemas.iter().map(|row| (SCHEMAS, row.object(), row.mandatory))).collect()
}

/// Makes what is missing and corrects what differs.
pub(crate) async fn run(server: &Arc<Server>) -> Result<(), Status> {
    for (plural, object, mandatory) in objects() {
        ensure(server, (GROUP, "v1", plural), "", object, move |wanted, stored| {
            let followed = stored["metadata"]["annotations"][AUTO_UPDATE] == "true";
            let differs = (mandatory || followed) && stored["spec"] != wanted["spec"];
            if differs {
                stored["spec"] = wanted["spec"].clone();
            }
            let known = plural != SCHEMAS || stored["status"]["conditions"].is_array();
            if !known {
                stored["status"] = json!({"conditions": [found(server)]});
            }
            differs || !known
        })
        .await?;
    }
    Ok(())
}

/// The level of a schema is there.
fn found(server: &Server) -> Value {
    json!({"type": "Dangling", "status": "False", "reason": "Found", "lastTransitionTime": server.now(),
           "message": "This FlowSchema references the PriorityLevelConfiguration object"})
}

/// Restores them whenever somebody changes or deletes one, as long as the server lives.
pub(crate) async fn keep(server: Arc<Server>) {
    loop {
        if let Err(status) = keep_until_lost(&server).await {
            tracing::warn!(message = status.message, "flow schemas could not be kept");
        }
        server.clock.sleep(RETRY).await;
    }
}

/// Ends when a watch ends.
async fn keep_until_lost(server: &Arc<Server>) -> Result<(), Status> {
    let mut changes = Vec::new();
    for plural in [LEVELS, SCHEMAS] {
        let prefix = api::names::storage_prefix(GROUP, plural, None);
        changes.push(server.store.watch(&prefix, server.store.revision()).await.map_err(store_status)?);
    }
    let mut changes = futures::stream::select_all(changes);
    // What changed before the watches began.
    run(server).await?;
    while let Some(change) = changes.next().await {
        change.map_err(store_status)?;
        run(server).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_upstreams_are_there_and_every_schema_has_its_level() {
        let all = objects();
        let name = |object: &Value| api::object::name(object).to_owned();
        let levels: Vec<String> =
            all.iter().filter(|(plural, ..)| *plural == LEVELS).map(|(_, object, _)| name(object)).collect();
        assert_eq!((levels.len(), all.len()), (8, 19));
        for (_, schema, _) in all.iter().filter(|(plural, ..)| *plural == SCHEMAS) {
            let level = schema["spec"]["priorityLevelConfiguration"]["name"].as_str().expect("a level");
            assert!(levels.iter().any(|one| one == level), "{level}");
        }
    }
}
