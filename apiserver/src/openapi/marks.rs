//! What upstream's documents mark and the published schemas we import do not tell: unions, maps whose
//! entries have owners of their own, and what lists are.
//!
//! Entry points: [`unions`], [`is_granular`], [`of_list`]. Source: `+union` and `+structType` in `k8s.io/api`.

use serde_json::{Map, Value, json};

/// A definition, the field that says which member is set, and the members with the discriminator's values.
type Union = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const UNIONS: [Union; 6] = [
    ("io.k8s.api.core.v1.AppArmorProfile", "type", &[("localhostProfile", "LocalhostProfile")]),
    ("io.k8s.api.core.v1.PodSchedulingGroup", "", &[("podGroupName", "PodGroupName")]),
    ("io.k8s.api.core.v1.SeccompProfile", "type", &[("localhostProfile", "LocalhostProfile")]),
    ("io.k8s.api.flowcontrol.v1.LimitResponse", "type", &[("queuing", "Queuing")]),
    (
        "io.k8s.api.flowcontrol.v1.PriorityLevelConfigurationSpec",
        "type",
        &[("exempt", "Exempt"), ("limited", "Limited")],
    ),
    (
        "io.k8s.api.flowcontrol.v1.Subject",
        "kind",
        &[("group", "Group"), ("serviceAccount", "ServiceAccount"), ("user", "User")],
    ),
];

const GRANULAR: [(&str, &str); 2] = [
    ("io.k8s.api.core.v1.PersistentVolumeClaimStatus", "allocatedResourceStatuses"),
    ("io.k8s.api.core.v1.PersistentVolumeSpec", "claimRef"),
];

/// `x-kubernetes-unions` of a definition.
pub(super) fn unions(definition: &str) -> Option<Value> {
    let (_, discriminator, members) = UNIONS.iter().find(|(name, ..)| *name == definition)?;
    let members: Map<String, Value> =
        members.iter().map(|(field, value)| ((*field).to_owned(), json!(value))).collect();
    let mut union = json!({"fields-to-discriminateBy": members});
    if !discriminator.is_empty() {
        union["discriminator"] = json!(discriminator);
    }
    Some(json!([union]))
}

/// Whether a field's map is said to be granular, which it would be unsaid.
pub(super) fn is_granular(definition: &str, field: &str) -> bool {
    GRANULAR.contains(&(definition, field))
}

/// What a list of objects is, and its fields; the schemas we import have no lists.
pub(super) fn of_list(short_name: &str, field: Option<&str>) -> Option<String> {
    let kind = short_name.strip_suffix("List").filter(|kind| !kind.is_empty())?;
    match field {
        None => Some(format!("{short_name} is a list of {kind} objects.")),
        Some("items") => Some(format!("The {kind} objects.")),
        Some("metadata") => Some("Metadata of the list.".to_owned()),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use api::schema::facts;

    use super::*;

    #[test]
    fn what_is_marked_exists() {
        for (name, discriminator, members) in UNIONS {
            let schema = facts().schema(name).expect(name);
            let fields: Vec<&str> = schema.fields().map(|field| field.name()).collect();
            let named = members.iter().map(|(field, _)| *field).chain([discriminator]);
            for field in named.filter(|field| !field.is_empty()) {
                assert!(fields.contains(&field), "{name} has no {field}");
            }
        }
        for (name, field) in GRANULAR {
            assert!(facts().schema(name).expect(name).fields().any(|known| known.name() == field), "{name}");
        }
        let subject = unions("io.k8s.api.flowcontrol.v1.Subject").expect("a union");
        assert_eq!(subject[0]["fields-to-discriminateBy"]["serviceAccount"], "ServiceAccount");
        assert_eq!(unions("io.k8s.api.core.v1.Pod"), None);
    }
}
