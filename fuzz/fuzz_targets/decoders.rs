//! Bodies of requests: the first byte says in which form.
#![no_main]

use api::codec::{json, protobuf, yaml};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((form, body)) = data.split_first() else { return };
    match form % 3 {
        0 => drop(json::decode(body)),
        1 => drop(yaml::decode(body)),
        _ => {
            // Also without the envelope: most random bytes have none.
            let _ = protobuf::decode(body);
            let pod = api::schema::facts().by_gvk("", "v1", "Pod");
            let _ = pod.map(|schema| protobuf::decode_message(schema, body));
        }
    }
});
