//! No two services share an address or a port; what a failed write took comes back.

use api::kinds::builtin;

use super::*;

fn allocators(services: &[Value]) -> Allocators {
    Allocators::new(Ipv4Range::parse("10.43.0.0/16").expect("a range"), services.iter())
}

fn service(spec: Value) -> Value {
    json!({"kind": "Service", "metadata": {"name": "s"}, "spec": spec})
}

fn reserve(allocators: &Allocators, object: &mut Value, old: Option<&Value>) -> Result<Reservation, String> {
    let table = builtin();
    let kind = table.resource("", "v1", "services").expect("a row");
    allocators
        .reserve(kind, object, old, &Rng::seeded(3))
        .map_err(|causes| causes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
}

#[test]
fn addresses_are_distinct_and_come_back() {
    let allocators = allocators(&[]);
    let (mut a, mut b) = (service(json!({})), service(json!({})));
    reserve(&allocators, &mut a, None).expect("one").keep();
    reserve(&allocators, &mut b, None).expect("two").keep();
    assert_ne!(a["spec"]["clusterIP"], b["spec"]["clusterIP"]);
    let again = |wanted: &Value| service(json!({"clusterIP": wanted["spec"]["clusterIP"]}));
    let taken = reserve(&allocators, &mut again(&a), None).err().expect("refused");
    assert!(taken.ends_with("provided IP is already allocated"), "{taken}");
    drop(
        reserve(&allocators, &mut again(&json!({"spec": {"clusterIP": "10.43.0.77"}})), None).expect("free"),
    );
    reserve(&allocators, &mut service(json!({"clusterIP": "10.43.0.77"})), None).expect("came back");
    let table = builtin();
    allocators.release(table.resource("", "v1", "services").expect("a row"), &a);
    reserve(&allocators, &mut again(&a), None).expect("released");
}

#[test]
fn what_is_outside_is_refused() {
    let allocators = allocators(&[]);
    let outside = reserve(&allocators, &mut service(json!({"clusterIP": "10.44.0.1"})), None).err();
    assert_eq!(
        outside.as_deref(),
        Some(
            "spec.clusterIPs: Invalid value: [\"10.44.0.1\"]: failed to allocate IP 10.44.0.1: the provided IP (10.44.0.1) is not in the valid range. The range of valid IPs is 10.43.0.0/16"
        )
    );
    let mut port = service(json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 80}]}));
    let port = reserve(&allocators, &mut port, None).err().expect("refused");
    assert!(port.starts_with("spec.ports[0].nodePort: Invalid value: 80: provided port is not in"), "{port}");
}

#[test]
fn ports_follow_the_type() {
    let allocators = allocators(&[]);
    let mut one = service(json!({"type": "NodePort", "ports": [{"port": 80}, {"port": 81}]}));
    reserve(&allocators, &mut one, None).expect("ports").keep();
    let number = one["spec"]["ports"][0]["nodePort"].clone();
    let mut thief = service(json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": number}]}));
    assert!(reserve(&allocators, &mut thief, None).is_err());
    let mut inward = one.clone();
    inward["spec"]["type"] = "ClusterIP".into();
    inward["spec"]["ports"] = json!([{"port": 80}]);
    reserve(&allocators, &mut inward, Some(&one)).expect("less").keep();
    reserve(&allocators, &mut thief, None).expect("free again");
}

#[test]
fn known_services_are_remembered() {
    let allocators = allocators(&[service(json!({"clusterIP": "10.43.0.10"}))]);
    assert!(reserve(&allocators, &mut service(json!({"clusterIP": "10.43.0.10"})), None).is_err());
    let mut headless = service(json!({"clusterIP": "None"}));
    reserve(&allocators, &mut headless, None).expect("headless");
    assert_eq!(headless["spec"]["clusterIPs"], json!(["None"]));
}
