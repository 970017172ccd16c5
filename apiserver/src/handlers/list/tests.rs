//! Continue tokens survive the round trip and never lead outside their collection.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;

use super::body::{FRAME_BYTES, Frames};
use super::options::decode_token;
use super::*;

const PREFIX: &str = "/registry/core/pods/";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn tokens_round_trip(revision in 1_u64..1 << 53, key in "[a-z0-9]{1,8}/[a-z0-9][a-z0-9.-]{0,20}") {
        let text = token(revision, &format!("{PREFIX}{key}"), PREFIX);
        let start = decode_token(&text, PREFIX).expect("our own token");
        prop_assert_eq!(start, Start { at: Some(revision), after: Some(format!("{PREFIX}{key}")) });
    }

    #[test]
    fn garbage_is_refused_not_followed(text in ".{0,60}") {
        if let Ok(start) = decode_token(&text, PREFIX) {
            prop_assert!(start.after.is_some_and(|after| after.starts_with(PREFIX) && !after.contains("..")));
        }
    }

    #[test]
    fn frames_make_one_document(sizes in proptest::collection::vec(1_usize..30_000, 0..8)) {
        let items: Vec<Bytes> = sizes.iter().map(|n| Bytes::from(Value::from("x".repeat(*n)).to_string())).collect();
        let (head, items) = (Bytes::from_static(b"{\"items\":["), items.into_iter());
        let mut frames = Frames { head, items, write: Box::new(|item, out| out.extend_from_slice(item)), ended: false };
        let mut all = Vec::new();
        while let Some(frame) = frames.frame(FRAME_BYTES, FRAME_BYTES) {
            all.extend_from_slice(&frame);
        }
        let parsed: Value = serde_json::from_slice(&all).expect("JSON");
        prop_assert_eq!(parsed["items"].as_array().map(Vec::len), Some(sizes.len()));
    }
}

#[test]
fn a_token_that_climbs_out_is_refused() {
    for start in ["../secrets/a\u{0}", "a//b\u{0}", "\u{0}"] {
        let token = json!({"v": "meta.k8s.io/v1", "rv": 5, "start": start});
        let text = URL_SAFE_NO_PAD.encode(token.to_string());
        assert_eq!(decode_token(&text, PREFIX).expect_err("refused").code(), 400, "{start}");
    }
}
