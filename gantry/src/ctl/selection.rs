//! Which objects a verb is about: named, chosen by selector, all of a type, or from files.
//!
//! Entry point: [`Choice::targets`].

use serde_json::{Value, json};

use super::connection::{Connection, query};
use super::manifest::Files;
use super::resources::{Resource, Resources, nothing_chosen};
use super::{Failure, Outcome};

/// What the flags and arguments choose.
#[derive(Clone, Copy)]
pub struct Choice<'a> {
    /// TYPE, TYPE NAME…, TYPE/NAME…
    pub words: &'a [String],
    /// Files instead.
    pub files: &'a Files,
    /// Label selector.
    pub selector: &'a str,
    /// Field selector.
    pub field_selector: &'a str,
    /// Every object of the type.
    pub all: bool,
    /// In every namespace.
    pub all_namespaces: bool,
    /// Read named objects from the server, those from files too.
    pub fetch: bool,
}

/// One object to work on.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its kind.
    pub resource: Resource,
    /// Empty for cluster-wide kinds.
    pub namespace: String,
    /// Empty when the server is to make one up.
    pub name: String,
    /// As the file or the server has it; null when neither was asked.
    pub object: Value,
    /// The file it is from, or empty.
    pub source: String,
}

impl Target {
    /// Of an object that the server gave.
    pub fn of(resource: &Resource, object: Value) -> Self {
        Self {
            resource: resource.clone(),
            namespace: api::object::namespace(&object).to_owned(),
            name: api::object::name(&object).to_owned(),
            object,
            source: String::new(),
        }
    }

    /// The object's path.
    pub fn path(&self) -> String {
        self.resource.object(&self.namespace, &self.name)
    }

    /// The path of its collection.
    pub fn collection(&self) -> String {
        self.resource.collection(Some(&self.namespace))
    }

    /// `deployment.apps/web`.
    pub fn label(&self) -> String {
        format!("{}/{}", self.resource.singular_name(), self.name)
    }
}

/// Flags that choose several objects of a type.
#[derive(clap::Args)]
pub struct Many {
    /// Every object of the type in the namespace.
    #[arg(long)]
    pub all: bool,
    /// In every namespace.
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// Label selector.
    #[arg(short = 'l', long, value_name = "SELECTOR", default_value = "")]
    pub selector: String,
    /// Field selector.
    #[arg(long, value_name = "SELECTOR", default_value = "")]
    pub field_selector: String,
}

impl Many {
    /// What is chosen, unread.
    pub fn choice<'a>(&'a self, words: &'a [String], files: &'a Files) -> Choice<'a> {
        Choice {
            selector: &self.selector,
            field_selector: &self.field_selector,
            all: self.all,
            all_namespaces: self.all_namespaces,
            ..Choice::of(words, files)
        }
    }
}

/// The objects found, and what could not be found.
pub type Found = (Vec<Target>, Vec<Failure>);

impl<'a> Choice<'a> {
    /// What is named, unread; the other fields say more.
    pub fn of(words: &'a [String], files: &'a Files) -> Self {
        Self {
            words,
            files,
            selector: "",
            field_selector: "",
            all: false,
            all_namespaces: false,
            fetch: false,
        }
    }
}

impl Choice<'_> {
    /// The objects; what cannot be found does not keep the others from being worked on.
    pub async fn targets(&self, connection: &Connection, resources: &Resources) -> Outcome<Found> {
        if !self.files.is_empty() {
            if !self.words.is_empty() {
                return Err(Failure::new(
                    "when paths, URLs, or stdin is provided as input, you may not specify a resource by arguments as well",
                ));
            }
            return self.of_files(connection, resources).await;
        }
        if self.words.is_empty() {
            return Err(nothing_chosen());
        }
        let (mut found, mut failures) = (Vec::new(), Vec::new());
        let by_property = self.all || !self.selector.is_empty() || !self.field_selector.is_empty();
        for (resource, name) in resources.select(self.words)? {
            match name {
                Some(_) if by_property => return Err(self.contradiction()),
                Some(name) => self.named(connection, resource, name, &mut found, &mut failures).await,
                None if by_property => match self.list(connection, resource).await {
                    Ok(more) => found.extend(more),
                    Err(failure) => failures.push(failure),
                },
                None => return Err(Failure::new("resource(s) were provided, but no name was specified")),
            }
        }
        Ok((found, failures))
    }

    /// Exactly the objects, or the first failure.
    pub async fn exactly(&self, connection: &Connection, resources: &Resources) -> Outcome<Vec<Target>> {
        let (found, failures) = self.targets(connection, resources).await?;
        Failure::all(failures).map(|()| found)
    }

    fn contradiction(&self) -> Failure {
        let what = if self.all { "setting 'all' parameter" } else { "a selector was specified" };
        match (self.all, self.words.iter().any(|word| word.contains('/'))) {
            (_, true) => {
                Failure::new("selectors and the all flag cannot be used when passing resource/name arguments")
            }
            (true, _) => Failure::new(format!("{what} but found a non empty list of resource names")),
            _ => Failure::new("name cannot be provided when a selector is specified"),
        }
    }

    async fn named(
        &self,
        connection: &Connection,
        resource: &Resource,
        name: String,
        found: &mut Vec<Target>,
        failures: &mut Vec<Failure>,
    ) {
        let namespace = if resource.namespaced { connection.default_namespace() } else { String::new() };
        let source = String::new();
        let mut target = Target { resource: resource.clone(), namespace, name, object: Value::Null, source };
        if self.fetch {
            match connection.get(&target.path()).await {
                Ok(object) => target.object = object,
                Err(failure) => return failures.push(failure),
            }
        }
        found.push(target);
    }

    async fn list(&self, connection: &Connection, resource: &Resource) -> Outcome<Vec<Target>> {
        let suffix = query(&[("labelSelector", self.selector), ("fieldSelector", self.field_selector)]);
        let namespace = (!self.all_namespaces).then(|| connection.default_namespace());
        let path = format!("{}{suffix}", resource.collection(namespace.as_deref()));
        let items = items(connection.get(&path).await?, resource);
        Ok(items.into_iter().map(|item| Target::of(resource, item)).collect())
    }

    async fn of_files(&self, connection: &Connection, resources: &Resources) -> Outcome<Found> {
        let (mut found, mut failures) = (Vec::new(), Vec::new());
        let selector = parse_selector(self.selector)?;
        for item in self.files.read()? {
            if selector.as_ref().is_some_and(|selector| !selects(selector, &item.object)) {
                continue;
            }
            let outcome = settle(connection, resources, item.object, item.source);
            let mut target = match outcome {
                Ok(target) => target,
                Err(failure) => {
                    failures.push(failure);
                    continue;
                }
            };
            if self.fetch {
                match connection.get(&target.path()).await {
                    Ok(object) => target.object = object,
                    Err(failure) => {
                        failures.push(failure.during("retrieving", ""));
                        continue;
                    }
                }
            }
            found.push(target);
        }
        Ok((found, failures))
    }
}

/// The target an object of a file is, its namespace settled.
pub fn settle(
    connection: &Connection,
    resources: &Resources,
    mut object: Value,
    source: String,
) -> Outcome<Target> {
    let resource = resources.of(&object, &source)?.clone();
    let own = api::object::namespace(&object).to_owned();
    let namespace = match (resource.namespaced, connection.enforced_namespace()) {
        (false, _) => {
            api::object::metadata_mut(&mut object).remove("namespace");
            String::new()
        }
        (true, Some(enforced)) if !own.is_empty() && own != enforced => {
            return Err(Failure::new(format!(
                "the namespace from the provided object {own:?} does not match the namespace {enforced:?}. You must pass '--namespace={own}' to perform this operation."
            )));
        }
        (true, _) if own.is_empty() => connection.default_namespace(),
        _ => own,
    };
    if resource.namespaced {
        api::object::metadata_mut(&mut object).insert("namespace".to_owned(), json!(namespace));
    }
    let name = api::object::name(&object).to_owned();
    Ok(Target { resource, namespace, name, object, source })
}

/// The items of a list, each with its kind.
pub fn items(mut list: Value, resource: &Resource) -> Vec<Value> {
    let mut items =
        list.get_mut("items").and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default();
    for item in &mut items {
        if let Some(fields) = item.as_object_mut() {
            fields.insert("apiVersion".to_owned(), json!(resource.api_version()));
            fields.insert("kind".to_owned(), json!(resource.kind));
        }
    }
    items
}

type LabelSelector = api::selector::LabelSelector;

fn parse_selector(text: &str) -> Outcome<Option<LabelSelector>> {
    if text.is_empty() {
        return Ok(None);
    }
    LabelSelector::parse(text).map(Some).map_err(Failure::new)
}

fn selects(selector: &LabelSelector, object: &Value) -> bool {
    selector.matches_json(&object["metadata"]["labels"])
}
