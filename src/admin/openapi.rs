//! The description of the API as an OpenAPI document, made from the table of endpoints and the types that they take and give.
//!
//! What is wrong with a request is always a problem document, so each operation has it once, as its default answer.

use std::sync::OnceLock;

use axum::body::Bytes;
use axum::http::{Method, header};
use axum::response::IntoResponse;
use utoipa::openapi::path::{Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{ArrayBuilder, SchemaType, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, Content, HttpMethod, Info, ObjectBuilder, OpenApi, PathItem, Paths, Ref, RefOr, Required,
    ResponseBuilder, Schema,
};
use utoipa::{IntoParams, ToSchema};

use super::problem::Document;
use super::role::Need;
use super::table::{self, Endpoint};

/// Name of the way in which callers show who they are.
const TOKEN: &str = "token";

const JSON: &str = "application/json";

/// What an endpoint takes and gives, beyond its path.
#[derive(Default)]
pub struct Description {
    summary: &'static str,
    /// What varies in the path is a number.
    numbered: bool,
    query: Vec<Parameter>,
    body: Option<Kind>,
    answers: Vec<Kind>,
}

struct Kind {
    media: &'static str,
    schema: RefOr<Schema>,
    /// What the schema refers to.
    others: Vec<(String, RefOr<Schema>)>,
}

impl Kind {
    fn json<T: ToSchema>() -> Self {
        let mut others = vec![(T::name().into_owned(), T::schema())];
        T::schemas(&mut others);
        Self { media: JSON, schema: Ref::from_schema_name(T::name()).into(), others }
    }

    /// A [`super::view::Page`], whose name would be the same for each kind of item.
    fn page<T: ToSchema>() -> Self {
        let Self { media, schema, others } = Self::json::<T>();
        let next = "For the `cursor` of the next page; none on the last one.";
        let text = SchemaType::from_iter([Type::String, Type::Null]);
        let page = ObjectBuilder::new()
            .property("items", ArrayBuilder::new().items(schema))
            .property("next", ObjectBuilder::new().schema_type(text).description(Some(next)))
            .required("items")
            .required("next");
        Self { media, schema: RefOr::T(page.into()), others }
    }

    fn text(media: &'static str) -> Self {
        Self { media, schema: RefOr::T(ObjectBuilder::new().schema_type(Type::String).into()), others: Vec::new() }
    }

    fn content(&self) -> Content {
        Content::new(Some(self.schema.clone()))
    }
}

impl Description {
    /// What it does, in a few words.
    pub fn new(summary: &'static str) -> Self {
        Self { summary, ..Self::default() }
    }

    pub fn numbered(self) -> Self {
        Self { numbered: true, ..self }
    }

    pub fn query<T: IntoParams>(self) -> Self {
        Self { query: T::into_params(|| Some(ParameterIn::Query)), ..self }
    }

    pub fn body<T: ToSchema>(self) -> Self {
        Self { body: Some(Kind::json::<T>()), ..self }
    }

    pub fn body_text(self, media: &'static str) -> Self {
        Self { body: Some(Kind::text(media)), ..self }
    }

    pub fn answer<T: ToSchema>(mut self) -> Self {
        self.answers.push(Kind::json::<T>());
        self
    }

    pub fn answer_page<T: ToSchema>(mut self) -> Self {
        self.answers.push(Kind::page::<T>());
        self
    }

    pub fn answer_text(mut self, media: &'static str) -> Self {
        self.answers.push(Kind::text(media));
        self
    }

    fn schemas(&self) -> impl Iterator<Item = &(String, RefOr<Schema>)> {
        self.body.iter().chain(&self.answers).flat_map(|kind| &kind.others)
    }
}

/// `GET /api/v1/openapi.json`.
pub async fn show() -> impl IntoResponse {
    static TEXT: OnceLock<Bytes> = OnceLock::new();
    let text = TEXT.get_or_init(|| serde_json::json!(document(&table::endpoints())).to_string().into());
    ([(header::CONTENT_TYPE, JSON)], text.clone())
}

/// The description of these endpoints, without those that have none.
#[must_use]
pub fn document(endpoints: &[Endpoint]) -> OpenApi {
    let described = || endpoints.iter().filter_map(|endpoint| Some((endpoint, endpoint.description.as_ref()?)));
    let paths = described().fold(Paths::new(), |mut paths, (endpoint, description)| {
        let operation = operation(endpoint, description);
        let item = PathItem::new(method(&endpoint.method), operation);
        paths.paths.entry(endpoint.path.to_owned()).or_default().merge_operations(item);
        paths
    });
    let problem = Kind::json::<Document>();
    let schemas = described().flat_map(|(_, description)| description.schemas()).chain(&problem.others).cloned();
    let about = "A token goes into `Authorization: Bearer`. From this machine, what only reads needs none.";
    let bearer =
        HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").description(Some(about)).build();
    let components = ComponentsBuilder::new()
        .schemas_from_iter(schemas)
        .security_scheme(TOKEN, SecurityScheme::Http(bearer))
        .build();
    let mut document = OpenApi::new(Info::new("Baton", env!("CARGO_PKG_VERSION")), paths);
    document.components = Some(components);
    document
}

fn method(method: &Method) -> HttpMethod {
    match *method {
        Method::POST => HttpMethod::Post,
        Method::DELETE => HttpMethod::Delete,
        _ => HttpMethod::Get,
    }
}

fn operation(endpoint: &Endpoint, description: &Description) -> Operation {
    let wrong = Kind::json::<Document>();
    let problem = ResponseBuilder::new().description("What is wrong with the request");
    let problem = problem.content("application/problem+json", wrong.content());
    let good = ResponseBuilder::new().description("Done");
    let good = description.answers.iter().fold(good, |good, kind| good.content(kind.media, kind.content()));
    let body = description.body.as_ref().map(|kind| {
        // A text may be empty, and then it is not there.
        let required = if kind.media == JSON { Required::True } else { Required::False };
        RequestBodyBuilder::new().required(Some(required)).content(kind.media, kind.content()).build()
    });
    let operation = OperationBuilder::new()
        .summary(Some(description.summary))
        .operation_id(Some(id(endpoint)))
        .parameters(Some(in_path(endpoint.path, description.numbered).chain(description.query.iter().cloned())))
        .request_body(body)
        .response("200", good.build())
        .response("default", problem.build());
    match endpoint.need {
        Need::Nothing => operation.build(),
        Need::Role(role) => {
            let who = format!("Needs the role `{}`.", role.word());
            operation.description(Some(who)).security(SecurityRequirement::new(TOKEN, [] as [&str; 0])).build()
        }
    }
}

/// Such as `post-dead-letters-replay`.
fn id(endpoint: &Endpoint) -> String {
    let path = endpoint.path.trim_start_matches("/api/v1").replace(['{', '}'], "");
    format!("{}{}", endpoint.method.as_str().to_ascii_lowercase(), path.replace(['/', '.'], "-"))
}

fn in_path(path: &str, numbered: bool) -> impl Iterator<Item = Parameter> {
    let kind = if numbered { Type::Integer } else { Type::String };
    let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    names.map(move |name| {
        let schema = ObjectBuilder::new().schema_type(kind.clone()).minimum(numbered.then_some(0));
        let parameter = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Path);
        parameter.required(Required::True).schema(Some(schema)).build()
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    fn described() -> Value {
        serde_json::json!(document(&table::endpoints()))
    }

    /// Every `$ref` in it.
    fn references(value: &Value, into: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                into.extend(fields.get("$ref").and_then(Value::as_str).map(ToOwned::to_owned));
                fields.values().for_each(|value| references(value, into));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, into)),
            _ => {}
        }
    }

    #[test]
    fn every_endpoint_of_the_api_is_described_and_says_who_may() {
        let document = described();
        for endpoint in table::endpoints().iter().filter(|endpoint| endpoint.path.starts_with("/api/")) {
            let method = endpoint.method.as_str().to_ascii_lowercase();
            let operation = &document["paths"][endpoint.path][&method];
            assert!(operation["summary"].as_str().is_some_and(|it| !it.is_empty()), "{method} {}", endpoint.path);
            assert!(operation["responses"]["200"]["content"].is_object(), "{method} {}", endpoint.path);
            assert_eq!(operation["security"].is_array(), endpoint.need != Need::Nothing, "{method} {}", endpoint.path);
        }
    }

    #[test]
    fn what_is_referred_to_is_there_and_names_are_no_types_of_rust() {
        let document = described();
        let mut all = BTreeSet::new();
        references(&document, &mut all);
        assert!(all.len() > 40, "{all:?}");
        for reference in all {
            let pointer = reference.trim_start_matches('#');
            assert!(document.pointer(pointer).is_some(), "{reference} is not there");
            assert!(reference.chars().all(|it| it.is_ascii_alphanumeric() || "#/_-".contains(it)), "{reference}");
        }
    }

    #[test]
    fn operations_have_names_of_their_own() {
        let document = described();
        let operations =
            document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values());
        let ids: Vec<_> = operations.map(|operation| operation["operationId"].as_str().unwrap().to_owned()).collect();
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{ids:?}");
        assert!(ids.contains(&"post-dead-letters-replay".to_owned()), "{ids:?}");
    }

    /// The table of docs/api.md, and of nothing but what is described.
    fn listed() -> String {
        let mut listed = "| | | Needs | Does |\n|---|---|---|---|\n".to_owned();
        for endpoint in &table::endpoints() {
            let Some(description) = &endpoint.description else { continue };
            let need = match endpoint.need {
                Need::Nothing => "nothing",
                Need::Role(role) => role.word(),
            };
            let (method, path, summary) = (&endpoint.method, endpoint.path, description.summary);
            listed.push_str(&format!("| {method} | `{path}` | {need} | {summary} |\n"));
        }
        listed
    }

    #[test]
    fn the_page_about_the_api_lists_what_there_is() {
        const BEGIN: &str = "<!-- begin of the endpoints: UPDATE_GOLDENS=1 cargo test --lib openapi -->\n";
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/api.md");
        let page = std::fs::read_to_string(path).unwrap();
        let (before, rest) = page.split_once(BEGIN).expect("the mark before the table");
        let (_, after) = rest.split_once("<!-- end of").expect("the mark after it");
        let wanted = format!("{before}{BEGIN}\n{}\n<!-- end of{after}", listed());
        if std::env::var_os("UPDATE_GOLDENS").is_some() {
            std::fs::write(path, wanted).unwrap();
        } else {
            assert_eq!(page, wanted, "UPDATE_GOLDENS=1 cargo test --lib openapi writes it anew");
        }
    }
}
