//! Reading a watch in a test.
//!
//! Entry point: [`until`].

use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt as _;
use serde_json::Value;

/// All events, up to the first that is as wanted.
///
/// # Panics
/// When the watch ends before.
pub async fn until<B>(mut watch: B, wanted: impl Fn(&Value) -> bool) -> Vec<Value>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Debug,
{
    let (mut text, mut seen) = (String::new(), Vec::new());
    while let Some(frame) = watch.frame().await {
        text.push_str(&String::from_utf8_lossy(&frame.expect("a frame").into_data().unwrap_or_default()));
        while let Some((line, rest)) = text.split_once('\n') {
            let event: Value = serde_json::from_str(line).expect("an event");
            text = rest.to_owned();
            seen.push(event);
            if seen.last().is_some_and(&wanted) {
                return seen;
            }
        }
    }
    panic!("the watch ended before the event")
}
