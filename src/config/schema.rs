//! What may be written, for editors and for people: the JSON Schema and the reference.
//!
//! Both are made of the declarations that the parser decodes by. The schema knows single values; what only makes sense
//! together is said by `baton check`.

use serde_json::{Map, Value as Json, json};

use super::file::File;
use super::shape::{Decode, Field, Kind, LIST_MAX, Object, prose};

/// JSON Schema (2020-12) of a configuration, indented.
pub fn schema() -> String {
    let mut definitions = Map::new();
    let root = json_schema(&File::kind(), &mut definitions);
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of Baton",
        "$ref": root["$ref"],
        "$defs": definitions,
    });
    format!("{schema:#}")
}

fn json_schema(kind: &Kind, definitions: &mut Map<String, Json>) -> Json {
    match kind {
        Kind::Object(object) => {
            if !definitions.contains_key(object.name) {
                // Taken before its fields are, so that the order of the definitions cannot matter.
                definitions.insert(object.name.to_owned(), Json::Null);
                let definition = object_schema(object, definitions);
                definitions.insert(object.name.to_owned(), definition);
            }
            json!({ "$ref": format!("#/$defs/{}", object.name) })
        }
        Kind::List(item) => json!({ "type": "array", "items": json_schema(item, definitions), "maxItems": LIST_MAX }),
        Kind::Words(words) => json!({ "enum": words }),
        Kind::Scalar(_, schema) => schema.clone(),
        Kind::OffOr(kind) => json!({ "anyOf": [{ "const": "off" }, json_schema(kind, definitions)] }),
    }
}

fn object_schema(object: &Object, definitions: &mut Map<String, Json>) -> Json {
    let mut properties = Map::new();
    for field in object.fields {
        let mut schema = json_schema(&(field.kind)(), definitions);
        schema["description"] = prose(field.doc).into();
        if let Some(text) = field.default {
            schema["default"] = json_value(text);
        }
        properties.insert(field.name().to_owned(), schema);
    }
    let required: Vec<&str> = object.fields.iter().filter(|field| is_required(field)).map(Field::name).collect();
    json!({
        "type": "object",
        "description": prose(object.doc),
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

/// A default in JSON. Numbers, mappings and lists of numbers are written alike; anything else is a word, or a list of words.
fn json_value(text: &str) -> Json {
    serde_json::from_str(text).unwrap_or_else(|_| match text.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
        Some(words) => words.split(',').map(str::trim).collect(),
        None => text.into(),
    })
}

fn is_required(field: &Field) -> bool {
    field.default.is_none() && !field.optional
}

/// Every key in Markdown: a section for each mapping, a row for each key.
pub fn reference() -> String {
    let mut out = String::new();
    section(&mut out, "", &File::kind());
    out
}

fn section(out: &mut String, path: &str, kind: &Kind) {
    match kind {
        Kind::Object(object) => object_section(out, path, object),
        Kind::List(item) => section(out, &format!("{path}[]"), item),
        Kind::OffOr(kind) => section(out, path, kind),
        Kind::Words(_) | Kind::Scalar(..) => {}
    }
}

fn object_section(out: &mut String, path: &str, object: &Object) {
    if object.fields.is_empty() {
        return;
    }
    let title = if path.is_empty() { "The file".to_owned() } else { format!("`{path}`") };
    out.push_str(&format!("\n### {title}\n\n{}\n\n", prose(object.doc)));
    out.push_str("| key | value | default | meaning |\n|---|---|---|---|\n");
    for field in object.fields {
        let kind = (field.kind)();
        let default = match field.default {
            Some("{}") => "see below".to_owned(),
            Some("[]") => "empty".to_owned(),
            Some(text) => format!("`{text}`"),
            None if field.optional => "none".to_owned(),
            None => "**required**".to_owned(),
        };
        let row = [format!("`{}`", field.name()), value_text(&kind), default, prose(field.doc)];
        out.push_str(&format!("| {} |\n", row.map(|cell| cell.replace('|', "\\|")).join(" | ")));
    }
    for field in object.fields {
        let dot = if path.is_empty() { "" } else { "." };
        section(out, &format!("{path}{dot}{}", field.name()), &(field.kind)());
    }
}

fn value_text(kind: &Kind) -> String {
    match kind {
        Kind::Object(_) => "a mapping".into(),
        Kind::List(item) => match &**item {
            Kind::Object(_) => "a list of mappings".into(),
            item => format!("a list; each item: {}", value_text(item)),
        },
        Kind::Words(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
        Kind::Scalar(name, schema) => match (&schema["minimum"], &schema["maximum"], &schema["$comment"]) {
            (Json::Null, _, Json::String(range)) => format!("{name} {range}"),
            (Json::Null, ..) => (*name).to_owned(),
            (min, max, _) => format!("{name} from {min} to {max}"),
        },
        Kind::OffOr(kind) => format!("`off` or {}", value_text(kind)),
    }
}
