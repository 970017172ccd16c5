//! What holds for any configurations.

use super::*;

/// Small configurations of a kind without a schema, whose fields often meet.
fn any_config() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![(0..3_i64).prop_map(Value::from), "[xy]".prop_map(Value::from)].boxed();
    let fields = |inner: BoxedStrategy<Value>| {
        prop::collection::btree_map("[a-d]", inner, 0..4)
            .prop_map(|fields| Value::Object(fields.into_iter().collect()))
    };
    let inner = prop_oneof![2 => leaf.clone(), 1 => fields(leaf).boxed()];
    fields(inner.boxed()).prop_map(config)
}

/// Configurations of a kind with keyed lists, sets and maps.
fn any_deployment() -> impl Strategy<Value = Value> {
    let names = || prop::collection::btree_set("[a-c]", 0..3);
    (prop::option::of(0..3_i64), names(), names(), "[12]").prop_map(
        |(replicas, containers, labels, image)| {
            let mut spec = json!({});
            if let Some(replicas) = replicas {
                spec["replicas"] = replicas.into();
            }
            let containers: Vec<Value> =
                containers.iter().map(|name| json!({"name": name, "image": image})).collect();
            // An empty list is nobody's; upstream adopts an object again that nobody owns anything of.
            if !containers.is_empty() {
                spec["template"] = json!({"spec": {"containers": containers}});
            }
            let mut config = config(spec);
            for label in &labels {
                config["metadata"]["labels"][label] = image.as_str().into();
            }
            config
        },
    )
}

/// Emptied maps and lists stay behind as null, which the decoder drops for typed kinds.
fn tidy(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.values_mut().for_each(tidy);
            map.retain(|_, value| !value.is_null() && *value != json!({}) && *value != json!([]));
        }
        Value::Array(list) => list.iter_mut().for_each(tidy),
        _ => {}
    }
}

fn content(story: &Story) -> Value {
    let mut object = story.live.clone();
    object["metadata"].as_object_mut().unwrap().remove("managedFields");
    tidy(&mut object);
    object
}

fn disjoint(a: &Value, b: &Value, kind: &Kind) -> bool {
    let typing = kind.typing("apps/v1").unwrap();
    let own = |value: &Value| typed::field_set(typing, value).difference(&UNOWNED);
    let (a, b) = (own(a), own(b));
    // A leaf of one must not lie above something of the other either.
    a.intersection(&b).is_empty() && a.recursive_difference(&b) == a && b.recursive_difference(&a) == b
}

fn laws(kind: fn() -> Kind, a: Value, b: Value) -> Result<(), TestCaseError> {
    // Applying twice is applying once.
    let mut story = Story::new(kind());
    story.apply("one", a.clone(), true).unwrap();
    let once = story.live.clone();
    story.apply("one", a.clone(), false).unwrap();
    prop_assert_eq!(&story.live, &once);
    // The same applier's next configuration leaves nothing of the first.
    story.apply("one", b.clone(), false).unwrap();
    let mut fresh = Story::new(kind());
    fresh.apply("one", b.clone(), false).unwrap();
    prop_assert_eq!(content(&story), content(&fresh));
    // Whoever forces has its way.
    let mut story = Story::new(kind());
    story.apply("one", a.clone(), false).unwrap();
    story.apply("two", b.clone(), true).unwrap();
    let typing = story.kind.typing("apps/v1").unwrap();
    let merged = typed::merge(typing, &story.live, &b);
    prop_assert_eq!(&merged, &story.live);
    if disjoint(&a, &b, &story.kind) {
        // Disjoint appliers never meet, and their order does not matter.
        let mut other = Story::new(kind());
        other.apply("two", b.clone(), false).unwrap();
        other.apply("one", a.clone(), false).unwrap();
        let sets = |story: &Story| {
            let managed = Managed::decode(&story.live["metadata"]["managedFields"]).unwrap();
            managed.entries.into_iter().map(|(manager, owned)| (manager, owned.set)).collect::<Vec<_>>()
        };
        prop_assert_eq!(sets(&story), sets(&other));
        // When one takes all back, what the other owns is left.
        story.apply("one", config(json!({})), false).unwrap();
        let mut alone = Story::new(kind());
        alone.apply("two", b, false).unwrap();
        prop_assert_eq!(content(&story), content(&alone));
    }
    Ok(())
}

proptest! {
    #[test]
    fn laws_of_custom_kinds(a in any_config(), b in any_config()) {
        laws(|| CUSTOM, a, b)?;
    }

    #[test]
    fn laws_of_built_in_kinds(a in any_deployment(), b in any_deployment()) {
        laws(|| DEPLOYMENT, a, b)?;
    }

    #[test]
    fn what_differs_is_what_merging_changes(a in any_deployment(), b in any_deployment()) {
        let typing = DEPLOYMENT.typing("apps/v1").unwrap();
        let merged = typed::merge(typing, &a, &b);
        let change = typed::compare(typing, &a, &merged);
        prop_assert!(change.removed.is_empty());
        let own = typed::with_named_fields(typing, &typed::field_set(typing, &b));
        let outside = change.modified.union(&change.added).difference(&own);
        // A map of labels that was not there at all comes as a whole.
        let labels = FieldSet::of_fields(&[&["metadata", "labels"], &["spec", "template"], &["spec", "template", "spec"],
            &["spec", "template", "spec", "containers"]]);
        prop_assert!(outside.difference(&labels).is_empty(), "{}", outside.to_json());
    }

    #[test]
    fn removing_a_set_leaves_nothing_of_it(a in any_deployment(), b in any_deployment()) {
        let typing = DEPLOYMENT.typing("apps/v1").unwrap();
        let set = typed::field_set(typing, &b).leaves();
        let left = typed::remove_items(typing, &a, &set);
        prop_assert!(typed::field_set(typing, &left).intersection(&set).difference(&UNOWNED).is_empty());
    }
}
