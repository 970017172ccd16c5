//! Our tool beside the machine's kubectl, on the same server: same output, same exit codes.

#![allow(clippy::expect_used, reason = "a test that cannot set its scene fails")]
#![allow(unused_crate_dependencies, reason = "the binary's dependencies are not the test's")]

#[path = "tool/server.rs"]
mod server;

use server::Server;

/// Objects of many kinds; nothing runs them, as there is no node agent.
const OBJECTS: &str = include_str!("tool/objects.yaml");

/// Runs every line with both tools and shows all that differ.
fn check(server: &Server, lines: &[&str]) {
    let differing: Vec<String> = lines.iter().filter_map(|line| server.difference(line)).collect();
    assert!(
        differing.is_empty(),
        "{} of {} lines differ:\n{}",
        differing.len(),
        lines.len(),
        differing.join("\n")
    );
}

#[test]
fn reading() {
    let server = Server::start();
    server.apply(OBJECTS);
    check(
        &server,
        &[
            "get pods",
            "get pods -o wide",
            "get pods,svc,deploy",
            "get pod alone -o yaml",
            "get pods -o json",
            "get pods -o name",
            "get pods -A --show-labels",
            "get deploy web -o jsonpath={.spec.replicas}",
            "get pods -o custom-columns=N:.metadata.name,I:.spec.containers[*].image",
            "get deploy web -o go-template={{.spec.replicas}}{{.nothing}}",
            "get pods -o go-template={{range.items}}{{.metadata.name}};{{end}}",
            "get pod alone --template={{.spec.containers|len}}{{.spec}}",
            "get pod alone -o go-template",
            "get pod alone -o template={{.a",
            "get pods --sort-by=.metadata.name",
            "get pods -L app",
            "get pod/alone svc/web",
            "get pod nope",
            "get pod nope alone",
            "get foo",
            "get",
            "get pods -l app=nope",
            "get cm cm -o yaml",
            "get pods -o bad",
            "get --raw /version",
            "get --raw /nope",
            "get pods alone -l a=b",
            "get deploy --show-kind --no-headers",
            "get po nope --ignore-not-found",
            "get pods --chunk-size=1",
            "apply view-last-applied cm/cm",
            "rollout history deploy/web",
            "wait --for=jsonpath={.metadata.name}=web deploy/web",
            "wait --for=condition=x pod/nope",
            "logs nope",
            "exec nope -- ls",
            "api-versions",
            "config current-context",
            "config get-contexts",
            "config view",
            "auth whoami",
            "cluster-info",
        ],
    );
}

#[test]
fn describing() {
    let server = Server::start();
    server.apply(OBJECTS);
    check(
        &server,
        &[
            "describe pod alone",
            "describe deploy web",
            "describe rs",
            "describe svc web",
            "describe svc kubernetes",
            "describe cm cm",
            "describe secret s",
            "describe node n1",
            "describe ns default",
            "describe sa default",
            "describe endpoints kubernetes",
            "describe pod nope",
            "describe",
        ],
    );
}

#[test]
fn refusals_and_dry_runs() {
    let server = Server::start();
    server.apply(OBJECTS);
    check(
        &server,
        &[
            "delete pod nope",
            "delete cm",
            "label pod alone x=z",
            "label pod alone",
            "annotate pod nope a=b",
            "scale deploy/web --replicas=2 --current-replicas=9",
            "scale deploy/web --replicas=2",
            "patch deploy web -p {\"spec\":{\"replicas\":2}}",
            "patch deploy web -p {\"spec\":{\"replicas\":2}} -o name",
            "patch deploy web --type=bad -p {}",
            "apply -f /nope.yaml",
            "create deployment d --image=nginx --dry-run=server",
            "create configmap c --from-literal=a=b --dry-run=client -o yaml",
            "create secret generic g --from-literal=a=b --dry-run=client -o yaml",
            "create namespace n --dry-run=client -o name",
            "create service clusterip c --tcp=80:8080 --dry-run=client -o name",
            "create configmap cm --from-literal=a=b",
            "run p --image=busybox --dry-run=server",
            "expose deploy web --name=web2 --dry-run=client",
            "set image deploy/web nope=nginx:2",
            "set image deploy/web web=nginx:2 --dry-run=server",
            "set env deploy/web A=c --dry-run=server",
            "set env deploy/web --list",
            "set resources deploy/web --limits=cpu=1 --dry-run=server",
            "set serviceaccount deploy/web default --dry-run=server",
            "autoscale deploy web --max=0",
            "cordon nope",
            "drain n1 --dry-run=client",
        ],
    );
}

/// What kubectl does not have: earlier states are read, one change and a whole namespace are taken back, what was
/// deleted returns, and what is locked is not deleted.
#[test]
fn the_past_comes_back() {
    let server = Server::start();
    let value = |object: &str, path: &str, at: &str| {
        server.ok(&format!("get {object} -n shop -o jsonpath={{{path}}} --at={at}"))
    };
    // Kind, how one is made, and how one field of it goes from one number to the next.
    let kinds = [
        ("cm/c", "create configmap c --from-literal=n=0", ".data.n", r#"{"data":{"n":"N"}}"#),
        (
            "svc/s",
            "create service clusterip s --tcp=80",
            ".spec.selector.n",
            r#"{"spec":{"selector":{"n":"N"}}}"#,
        ),
        (
            "role/r",
            "create role r --verb=get --resource=pods",
            ".rules[0].resources[0]",
            r#"{"rules":[{"apiGroups":[""],"resources":["N"],"verbs":["get"]}]}"#,
        ),
    ];
    server.ok("create namespace shop");
    for (object, create, path, patch) in kinds {
        server.ok(&format!("{create} -n shop"));
        let mut seen = Vec::new();
        for n in 1..=5 {
            server.ok(&format!(
                "patch {object} -n shop --type=merge -p {}",
                patch.replace('N', &n.to_string())
            ));
            let revision =
                server.ok(&format!("get {object} -n shop -o jsonpath={{.metadata.resourceVersion}}"));
            seen.push((n.to_string(), revision));
        }
        for (n, revision) in &seen {
            assert_eq!(value(object, path, revision), *n, "{object} at {revision}");
        }
        server.ok(&format!("undo {object} -n shop"));
        assert_eq!(server.ok(&format!("get {object} -n shop -o jsonpath={{{path}}}")), "4");
        let history = server.ok(&format!("history {object} -n shop"));
        assert_eq!(history.matches("gantry-undo").count(), 1, "{history}");
    }

    let moment = server.ok("get role/r -n shop -o jsonpath={.metadata.resourceVersion}");
    server.ok("delete cm c -n shop");
    server.ok(r#"patch svc/s -n shop --type=merge -p {"spec":{"selector":{"n":"9"}}}"#);
    server.ok("create configmap later -n shop");
    let done = server.ok(&format!("undo namespace/shop --contents --to-revision={moment}"));
    assert_eq!(server.ok("get cm c -n shop -o jsonpath={.data.n}"), "4", "{done}");
    assert_eq!(server.ok("get svc s -n shop -o jsonpath={.spec.selector.n}"), "4", "{done}");
    assert!(done.contains("configmap/later was created since, and stays"), "{done}");
    assert!(!done.contains("role"), "{done}");

    server.ok("annotate cm c -n shop gantry.dev/deletion-lock=books");
    let refusal = server.refused("delete namespace shop");
    assert!(
        refusal.contains(
            r#"locked against deletion by the annotation gantry.dev/deletion-lock: configmaps "c""#
        ),
        "{refusal}"
    );
    assert!(server.refused("delete cm c -n shop").contains(r#"it is locked against deletion ("books")"#));
    server.ok("annotate cm c -n shop gantry.dev/deletion-lock-");
    server.ok("delete namespace shop --timeout=60s");
    server.refused("get namespace shop");
    server.ok("undelete namespace shop");
    assert_eq!(server.ok("get cm c -n shop -o jsonpath={.data.n}"), "4");
    assert_eq!(server.ok("get role r -n shop -o jsonpath={.rules[0].resources[0]}"), "4");
}
