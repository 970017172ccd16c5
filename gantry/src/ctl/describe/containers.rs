//! Containers of a pod or a pod template.

use serde_json::Value;

use super::sheet::{Sheet, go_list, items, number, text, time, truth};

/// Where containers are described: indented in a template, with their state in a pod.
pub struct Containers<'a> {
    /// The heading.
    pub title: &'a str,
    /// The containers.
    pub specs: &'a Value,
    /// Their statuses; null in a template.
    pub statuses: &'a Value,
    /// The pod whose fields variables refer to; `None` in a template.
    pub pod: Option<&'a Value>,
}

impl Containers<'_> {
    /// Writes all of them.
    pub fn write(&self, sheet: &mut Sheet) {
        let space = if self.pod.is_none() { "  " } else { "" };
        let none = if items(self.specs).is_empty() { " <none>" } else { "" };
        sheet.line(0, format!("{space}{}:{none}", self.title));
        for spec in items(self.specs) {
            let status = items(self.statuses).iter().find(|status| status["name"] == spec["name"]);
            let indent = if space.is_empty() { "" } else { " " };
            sheet.line(1, format!("{indent}{}:", text(&spec["name"])));
            image(sheet, spec, status);
            ports(sheet, spec);
            words(sheet, "Command", &spec["command"]);
            words(sheet, "Args", &spec["args"]);
            if let Some(status) = status {
                state(sheet, status);
            }
            resources(sheet, 2, &spec["resources"]);
            for (title, field) in
                [("Liveness", "livenessProbe"), ("Readiness", "readinessProbe"), ("Startup", "startupProbe")]
            {
                if spec[field].is_object() {
                    sheet.field(2, title, probe(&spec[field]));
                }
            }
            environment(sheet, spec, self.pod);
            mounts(sheet, spec);
        }
    }
}

fn image(sheet: &mut Sheet, spec: &Value, status: Option<&Value>) {
    if let Some(status) = status {
        sheet.field(2, "Container ID", text(&status["containerID"]));
    }
    sheet.field(2, "Image", text(&spec["image"]));
    if let Some(status) = status {
        sheet.field(2, "Image ID", text(&status["imageID"]));
    }
}

fn ports(sheet: &mut Sheet, spec: &Value) {
    let shown = |field: &str| -> String {
        let all = items(&spec["ports"])
            .iter()
            .map(|port| format!("{}/{}", number(&port[field]), text(&port["protocol"])));
        all.collect::<Vec<_>>().join(", ")
    };
    for (one, several, field) in [("Port", "Ports", "containerPort"), ("Host Port", "Host Ports", "hostPort")]
    {
        match shown(field) {
            text if text.contains(',') => sheet.field(2, several, text),
            text if text.is_empty() => sheet.field(2, one, "<none>"),
            text => sheet.field(2, one, text),
        }
    }
    let seccomp = &spec["securityContext"]["seccompProfile"];
    sheet.field_if(2, "SeccompProfile", &seccomp["type"]);
    sheet.field_if(3, "LocalhostProfile", &seccomp["localhostProfile"]);
}

fn words(sheet: &mut Sheet, title: &str, words: &Value) {
    if items(words).is_empty() {
        return;
    }
    sheet.line(2, format!("{title}:"));
    for word in items(words) {
        text(word).split('\n').for_each(|line| sheet.line(3, line));
    }
}

fn state(sheet: &mut Sheet, status: &Value) {
    one_state(sheet, "State", &status["state"]);
    if status["lastState"]["terminated"].is_object() {
        one_state(sheet, "Last State", &status["lastState"]);
    }
    sheet.field(2, "Ready", truth(&status["ready"]));
    sheet.field(2, "Restart Count", number(&status["restartCount"]));
}

fn one_state(sheet: &mut Sheet, title: &str, state: &Value) {
    let (running, terminated) = (&state["running"], &state["terminated"]);
    if running.is_object() {
        sheet.field(2, title, "Running");
        sheet.field(3, "Started", time(&running["startedAt"]));
    } else if terminated.is_object() {
        sheet.field(2, title, "Terminated");
        sheet.field_if(3, "Reason", &terminated["reason"]);
        sheet.field_if(3, "Message", &terminated["message"]);
        sheet.field(3, "Exit Code", number(&terminated["exitCode"]));
        if number(&terminated["signal"]) > 0 {
            sheet.field(3, "Signal", number(&terminated["signal"]));
        }
        sheet.field(3, "Started", time(&terminated["startedAt"]));
        sheet.field(3, "Finished", time(&terminated["finishedAt"]));
    } else {
        sheet.field(2, title, "Waiting");
        sheet.field_if(3, "Reason", &state["waiting"]["reason"]);
    }
}

/// Limits and requests.
pub fn resources(sheet: &mut Sheet, level: usize, resources: &Value) {
    for (title, field) in [("Limits", "limits"), ("Requests", "requests")] {
        let amounts = resources[field].as_object().filter(|amounts| !amounts.is_empty());
        let Some(amounts) = amounts else { continue };
        sheet.line(level, format!("{title}:"));
        amounts.iter().for_each(|(name, amount)| sheet.field(level + 1, name, text(amount)));
    }
}

fn probe(probe: &Value) -> String {
    let settings = format!(
        "delay={}s timeout={}s period={}s #success={} #failure={}",
        number(&probe["initialDelaySeconds"]),
        number(&probe["timeoutSeconds"]),
        number(&probe["periodSeconds"]),
        number(&probe["successThreshold"]),
        number(&probe["failureThreshold"]),
    );
    let (http, tcp, grpc) = (&probe["httpGet"], &probe["tcpSocket"], &probe["grpc"]);
    if probe["exec"].is_object() {
        return format!("exec {} {settings}", go_list(&probe["exec"]["command"]));
    }
    if http.is_object() {
        let scheme = text(&http["scheme"]).to_lowercase();
        let address = format!("{}:{}", text(&http["host"]), text(&http["port"]));
        let path = text(&http["path"]);
        let slash = if path.is_empty() || path.starts_with('/') { "" } else { "/" };
        return format!("http-get {scheme}://{address}{slash}{path} {settings}");
    }
    if tcp.is_object() {
        return format!("tcp-socket {}:{} {settings}", text(&tcp["host"]), text(&tcp["port"]));
    }
    if grpc.is_object() {
        return format!("grpc <pod>:{} {} {settings}", number(&grpc["port"]), text(&grpc["service"]));
    }
    format!("unknown {settings}")
}

fn environment(sheet: &mut Sheet, spec: &Value, pod: Option<&Value>) {
    if !items(&spec["envFrom"]).is_empty() {
        sheet.line(2, "Environment Variables from:");
        for source in items(&spec["envFrom"]) {
            let (kind, reference) = match source["configMapRef"].is_object() {
                true => ("ConfigMap", &source["configMapRef"]),
                false => ("Secret", &source["secretRef"]),
            };
            let prefix = match text(&source["prefix"]) {
                prefix if prefix.is_empty() => String::new(),
                prefix => format!(" with prefix '{prefix}'"),
            };
            sheet.line(
                3,
                format!(
                    "{}\t{kind}{prefix}\tOptional: {}",
                    text(&reference["name"]),
                    reference["optional"] == true
                ),
            );
        }
    }
    let none = if items(&spec["env"]).is_empty() { "\t<none>" } else { "" };
    sheet.line(2, format!("Environment:{none}"));
    for variable in items(&spec["env"]) {
        let name = text(&variable["name"]);
        let from = &variable["valueFrom"];
        if from.is_null() {
            let value = text(&variable["value"]);
            for (at, line) in value.split('\n').enumerate() {
                sheet.line(3, if at == 0 { format!("{name}:\t{line}") } else { format!("\t{line}") });
            }
            continue;
        }
        let (field, resource) = (&from["fieldRef"], &from["resourceFieldRef"]);
        if field.is_object() {
            let value = pod.map(|pod| field_of(pod, &text(&field["fieldPath"]))).unwrap_or_default();
            sheet.line(
                3,
                format!("{name}:\t{value} ({}:{})", text(&field["apiVersion"]), text(&field["fieldPath"])),
            );
        } else if resource.is_object() {
            let wanted = text(&resource["resource"]);
            sheet.line(3, format!("{name}:\t{} ({wanted})", amount_of(spec, &wanted)));
        } else {
            for (source, word, kind) in
                [("secretKeyRef", "in", "secret"), ("configMapKeyRef", "of", "config map")]
            {
                let key = &from[source];
                if key.is_object() {
                    let (at, of) = (text(&key["key"]), text(&key["name"]));
                    let optional = key["optional"] == true;
                    sheet.line(
                        3,
                        format!(
                            "{name}:\t<set to the key '{at}' {word} {kind} '{of}'>\tOptional: {optional}"
                        ),
                    );
                }
            }
        }
    }
}

/// A field of a pod that may be passed on: its metadata by path, keys in brackets.
fn field_of(pod: &Value, path: &str) -> String {
    if let Some((map, key)) = path.split_once("['") {
        let pointer = format!("/{}", map.replace('.', "/"));
        return pod.pointer(&pointer).map(|map| text(&map[key.trim_end_matches("']")])).unwrap_or_default();
    }
    pod.pointer(&format!("/{}", path.replace('.', "/"))).map(text).unwrap_or_default()
}

fn amount_of(spec: &Value, wanted: &str) -> String {
    let found = wanted.split_once('.').map(|(part, name)| &spec["resources"][part][name]);
    match found.filter(|amount| !amount.is_null()).and_then(api::quantity::canonical) {
        Some(amount) if wanted.ends_with("cpu") => {
            let quantity = api::quantity::Quantity::from_json(&Value::from(amount));
            quantity.map(|q| q.value().to_string()).unwrap_or_default()
        }
        Some(amount) => {
            let quantity = api::quantity::Quantity::from_json(&Value::from(amount));
            quantity.map(|q| q.value().to_string()).unwrap_or_default()
        }
        None if wanted.starts_with("limits.") => "node allocatable".to_owned(),
        None => "0".to_owned(),
    }
}

fn mounts(sheet: &mut Sheet, spec: &Value) {
    let none = if items(&spec["volumeMounts"]).is_empty() { "\t<none>" } else { "" };
    sheet.line(2, format!("Mounts:{none}"));
    let mut mounts: Vec<&Value> = items(&spec["volumeMounts"]).iter().collect();
    mounts.sort_by_key(|mount| text(&mount["mountPath"]));
    for mount in mounts {
        let mut flags = vec![if mount["readOnly"] == true { "ro".to_owned() } else { "rw".to_owned() }];
        let sub_path = text(&mount["subPath"]);
        if !sub_path.is_empty() {
            flags.push(format!("path={sub_path:?}"));
        }
        sheet.line(
            3,
            format!("{} from {} ({})", text(&mount["mountPath"]), text(&mount["name"]), flags.join(",")),
        );
    }
    if !items(&spec["volumeDevices"]).is_empty() {
        sheet.line(2, format!("Devices:{none}"));
        for device in items(&spec["volumeDevices"]) {
            sheet.line(3, format!("{} from {}", text(&device["devicePath"]), text(&device["name"])));
        }
    }
}
