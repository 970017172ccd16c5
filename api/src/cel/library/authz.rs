//! Questions to the [`Authorizer`](crate::cel::Authorizer).

use std::sync::Arc;

use super::{Args, Run};
use crate::cel::authorizer::{Check, Decision, ResourceCheck, ServiceAccount};
use crate::cel::error::EvalError;
use crate::cel::extension::Extension;
use crate::cel::value::{Eval, Text, Value};
use crate::names;

pub(super) fn function(name: &str) -> Option<Run> {
    Some(match name {
        "path" => path,
        "group" => group,
        "serviceAccount" => service_account,
        "resource" => resource,
        "subresource" => |args| refined(args, |check, text| check.subresource = text),
        "namespace" => |args| refined(args, |check, text| check.namespace = text),
        "name" => |args| refined(args, |check, text| check.name = text),
        "fieldSelector" => |args| refined(args, |check, text| check.field_selector = Some(text)),
        "labelSelector" => |args| refined(args, |check, text| check.label_selector = Some(text)),
        "check" => check,
        "allowed" => |args| decision(args, |decision| Value::Bool(decision.allowed)),
        "reason" => |args| decision(args, |decision| Value::text(decision.reason.as_str())),
        "errored" => |args| decision(args, |decision| Value::Bool(decision.error.is_some())),
        "error" => {
            |args| decision(args, |decision| Value::text(decision.error.as_deref().unwrap_or_default()))
        }
        _ => return None,
    })
}

fn shared(text: &Text<'_>) -> Arc<str> {
    match text {
        Text::Shared(text) => text.clone(),
        Text::Borrowed(text) => (*text).into(),
    }
}

fn path<'a>(args: Args<'_, 'a>) -> Eval<Value<'a>> {
    let [Value::Extension(Extension::Authorizer(authorizer, account)), Value::String(path)] =
        &args.values[..]
    else {
        return args.refuse();
    };
    if path.trim().is_empty() {
        return Err(EvalError::new("path must not be empty"));
    }
    let check = Check::Path { service_account: account.as_deref().cloned(), path: shared(path) };
    Ok(Value::Extension(Extension::Check(*authorizer, Arc::new(check))))
}

fn group<'a>(args: Args<'_, 'a>) -> Eval<Value<'a>> {
    let [Value::Extension(Extension::Authorizer(authorizer, account)), Value::String(group)] =
        &args.values[..]
    else {
        return args.refuse();
    };
    let check = ResourceCheck {
        service_account: account.as_deref().cloned(),
        group: shared(group),
        ..ResourceCheck::default()
    };
    Ok(Value::Extension(Extension::Check(*authorizer, Arc::new(Check::Resource(check)))))
}

fn service_account<'a>(args: Args<'_, 'a>) -> Eval<Value<'a>> {
    let [
        Value::Extension(Extension::Authorizer(authorizer, _)),
        Value::String(namespace),
        Value::String(name),
    ] = &args.values[..]
    else {
        return args.refuse();
    };
    if !names::dns1123_subdomain(name).is_empty() {
        return Err(EvalError::new("Invalid service account name"));
    }
    if !names::dns1123_label(namespace).is_empty() {
        return Err(EvalError::new("Invalid service account namespace"));
    }
    let account = ServiceAccount { namespace: shared(namespace), name: shared(name) };
    Ok(Value::Extension(Extension::Authorizer(*authorizer, Some(Arc::new(account)))))
}

fn resource<'a>(args: Args<'_, 'a>) -> Eval<Value<'a>> {
    if let [_, Value::String(resource)] = &args.values[..]
        && resource.trim().is_empty()
    {
        return Err(EvalError::new("resource must not be empty"));
    }
    refined(args, |check, text| check.resource = text)
}

/// The question with one thing more in it.
fn refined<'a>(args: Args<'_, 'a>, with: fn(&mut ResourceCheck, Arc<str>)) -> Eval<Value<'a>> {
    let [Value::Extension(Extension::Check(authorizer, check)), Value::String(text)] = &args.values[..]
    else {
        return args.refuse();
    };
    let Check::Resource(check) = &**check else { return args.refuse() };
    let mut check = check.clone();
    with(&mut check, shared(text));
    Ok(Value::Extension(Extension::Check(*authorizer, Arc::new(Check::Resource(check)))))
}

fn check<'a>(args: Args<'_, 'a>) -> Eval<Value<'a>> {
    let [Value::Extension(Extension::Check(authorizer, check)), Value::String(verb)] = &args.values[..]
    else {
        return args.refuse();
    };
    Ok(Value::Extension(Extension::Decision(Arc::new(authorizer.authorize(check, verb)))))
}

fn decision<'a>(args: Args<'_, 'a>, with: fn(&Decision) -> Value<'a>) -> Eval<Value<'a>> {
    match &args.values[..] {
        [Value::Extension(Extension::Decision(decision))] => Ok(with(decision)),
        _ => args.refuse(),
    }
}
