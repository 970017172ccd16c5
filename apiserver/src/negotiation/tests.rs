//! Headers and what they get.

use http::HeaderValue;

use super::*;

fn headers(accept: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_str(accept).expect("a header"));
    headers
}

fn shown(accepted: Result<Accepted, Status>) -> String {
    match accepted {
        Ok(accepted) => {
            let beta = if accepted.beta { " beta" } else { "" };
            format!("{:?} {:?}{beta}", accepted.form, accepted.media)
        }
        Err(status) => status.message,
    }
}

#[track_caller]
fn check(accept: &str, expect: &str) {
    let table = api::kinds::builtin();
    let kind = table.resource("", "v1", "pods").expect("a row");
    assert_eq!(shown(negotiate(kind, &headers(accept))), expect, "{accept}");
}

const TYPES: &str = "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf";

#[test]
fn ranges_by_weight_and_what_is_served() {
    check("*/*", "Object Json");
    check("*", "Object Json");
    check("application/*", "Object Json");
    check("application/yaml", "Object Yaml");
    check("application/vnd.kubernetes.protobuf,application/json", "Object Protobuf");
    check("application/json;q=0.4, application/vnd.kubernetes.protobuf;q=0.5", "Object Protobuf");
    check("*/*, application/yaml", "Object Yaml");
    check("image/png", TYPES);
    check("application/json/x", TYPES);
    check("application/json;stream=watch", "Object Json");
    check("application/json;stream=tape", TYPES);
}

#[test]
fn forms() {
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    check(&format!("{table},application/json"), "Table Json");
    check(&table.replace("v=v1", "v=v1beta1"), "Table Json beta");
    check(&format!("{},application/json", table.replace("v=v1", "v=v9")), "Object Json");
    check(&table.replace("v=v1", "v=v9"), TYPES);
    check("application/json;v=v1", TYPES);
    // Tables have no protobuf form, metadata has.
    check(&table.replace("json", "vnd.kubernetes.protobuf"), TYPES);
    check(
        "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json",
        "Metadata Protobuf",
    );
}

#[test]
fn kinds_without_protobuf_and_watches() {
    let custom = api::kinds::plain("example.com", "v1", "Foo", "foos", api::kinds::Scope::Namespaced);
    let ask = |accept: &str| shown(negotiate(&custom, &headers(accept)));
    assert_eq!(ask("application/vnd.kubernetes.protobuf,application/json"), "Object Json");
    assert_eq!(ask("application/vnd.kubernetes.protobuf"), TYPES);
    assert_eq!(
        shown(negotiate_stream(&custom, &headers("application/yaml"))),
        "only the following media types are accepted: application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"
    );
}

#[test]
fn readers() {
    let reader = |accept: &str, agent: &'static str, query: &str| {
        let mut headers = headers(accept);
        headers.insert(USER_AGENT, HeaderValue::from_static(agent));
        let reader = Reader::of(&headers, query);
        (reader.media, reader.pretty)
    };
    assert_eq!(reader("*/*", "curl/8", ""), (Some(Media::Json), true));
    assert_eq!(reader("*/*", "curl/8", "pretty=false"), (Some(Media::Json), false));
    assert_eq!(reader("*/*", "kubectl", "a=b&pretty=1"), (Some(Media::Json), true));
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    assert_eq!(reader(table, "kubectl", ""), (None, false));
    assert_eq!(reader(&format!("{table},application/yaml"), "kubectl", ""), (Some(Media::Yaml), false));
}
