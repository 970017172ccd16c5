//! Conversion between versions by a webhook.
//!
//! Entry point: [`convert`]. What is asked and believed is decided in `api::custom::conversion`.

use api::custom::CustomResource;
use api::custom::conversion::{review, take};
use api::{Reason, Status};
use serde_json::Value;

use crate::call::Server;
use crate::webhook_client::{self, Target};

/// Brings objects of one kind into the version `wanted`, all in one review.
///
/// # Errors
/// 500 in upstream's words when the webhook cannot be reached or its answer is not acceptable.
pub(crate) async fn convert(
    server: &Server,
    resource: &CustomResource,
    objects: Vec<Value>,
    wanted: &str,
) -> Result<Vec<Value>, Status> {
    let from = objects.first().map(|object| object["apiVersion"].as_str().unwrap_or_default().to_owned());
    let failed = |detail: String| {
        let what = format!("{}, Kind={}", from.clone().unwrap_or_default(), resource.kind);
        Status::new(Reason::InternalError, format!("conversion webhook for {what} {detail}"))
    };
    let request = review(&resource.conversion, &server.rng.uid(), &objects, wanted).map_err(failed)?;
    let target = Target::of(&resource.conversion["webhook"]["clientConfig"]);
    let answer = webhook_client::post(server, &target, &request, None).await;
    let answer = answer.map_err(|error| failed(format!("failed: {error}")))?;
    take(&request, &objects, &answer, wanted).map_err(failed)
}
