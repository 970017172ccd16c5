//! Waiting for the cluster to look a certain way: list, then watch, no polling. A wait that does not end
//! says what it waited for and what was there instead.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use futures::{StreamExt as _, pin_mut};
use kube::Api;
use kube::api::{ListParams, WatchEvent, WatchParams};
use serde::de::DeserializeOwned;

/// Far longer than anything takes; only a wait in vain lasts this long.
const PATIENCE: Duration = Duration::from_secs(30);

/// The objects of one kind by name.
pub type Objects<K> = BTreeMap<String, K>;

/// Shows `look` every state of the objects from now on, in order, until it answers.
pub async fn follow<K, T>(api: &Api<K>, what: &str, mut look: impl FnMut(&Objects<K>) -> Option<T>) -> T
where
    K: kube::Resource + Clone + DeserializeOwned + Debug + serde::Serialize,
{
    let list = api.list(&ListParams::default()).await.expect("a list");
    let mut revision = list.metadata.resource_version.clone().unwrap_or_default();
    let mut objects: Objects<K> = list.items.into_iter().map(|object| (name(&object), object)).collect();
    let watching = async {
        if let Some(answer) = look(&objects) {
            return answer;
        }
        loop {
            let events = api.watch(&WatchParams::default().timeout(290), &revision).await.expect("a watch");
            pin_mut!(events);
            while let Some(event) = events.next().await {
                match event.expect("an event") {
                    WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                        revision = object.meta().resource_version.clone().unwrap_or_default();
                        objects.insert(name(&object), object);
                    }
                    WatchEvent::Deleted(object) => {
                        revision = object.meta().resource_version.clone().unwrap_or_default();
                        objects.remove(&name(&object));
                    }
                    WatchEvent::Bookmark(mark) => revision = mark.metadata.resource_version,
                    WatchEvent::Error(status) => panic!("the watch failed: {status:?}"),
                }
                if let Some(answer) = look(&objects) {
                    return answer;
                }
            }
        }
    };
    match tokio::time::timeout(PATIENCE, watching).await {
        Ok(answer) => answer,
        Err(_elapsed) => {
            let there = api.list(&ListParams::default()).await.map(|list| list.items);
            let there = serde_json::to_string_pretty(&there.unwrap_or_default()).unwrap_or_default();
            panic!("waited in vain: {what}; there is {there}")
        }
    }
}

/// Waits until the objects satisfy `check`.
pub async fn until<K>(api: &Api<K>, what: &str, check: impl Fn(&Objects<K>) -> bool) -> Objects<K>
where
    K: kube::Resource + Clone + DeserializeOwned + Debug + serde::Serialize,
{
    follow(api, what, |objects| check(objects).then(|| objects.clone())).await
}

fn name<K: kube::Resource>(object: &K) -> String {
    object.meta().name.clone().unwrap_or_default()
}
