//! Gemini's own protocol: `generateContent`.

use super::{
    Answer, LanguageModel, ModelError, ModelOptions, Question,
    transport::{Transport, unavailable},
};
use async_trait::async_trait;
use reqwest::{
    Url,
    header::{HeaderName, HeaderValue},
};
use serde_json::{Value, json};

const KEY: HeaderName = HeaderName::from_static("x-goog-api-key");

pub(super) struct Gemini {
    transport: Transport,
    url: Url,
    key: Option<HeaderValue>,
}

impl Gemini {
    pub(super) fn new(options: &ModelOptions, transport: Transport) -> Result<Self, ModelError> {
        let base = options.base_url.trim_end_matches('/');
        let version = if base.ends_with("/v1beta") || base.ends_with("/v1") { "" } else { "/v1beta" };
        let mut url = Url::parse(&format!("{base}{version}")).map_err(|_| unavailable("no address"))?;
        url.path_segments_mut()
            .map_err(|()| unavailable("no address"))?
            .push("models")
            .push(&format!("{}:generateContent", options.model));
        // In a header: an address is written to logs along the way.
        let key = options.api_key.as_deref().map(HeaderValue::from_str).transpose();
        let mut key = key.map_err(|_| unavailable("the key is not one"))?;
        if let Some(key) = &mut key {
            key.set_sensitive(true);
        }
        Ok(Self { transport, url, key })
    }
}

/// The schema in the dialect of OpenAPI that Gemini reads.
fn dialect(schema: &Value) -> Value {
    match schema {
        Value::Object(fields) => fields
            .iter()
            .filter(|(name, _)| *name != "additionalProperties")
            .map(|(name, value)| (name.clone(), dialect(value)))
            .collect(),
        Value::Array(items) => items.iter().map(dialect).collect(),
        other => other.clone(),
    }
}

#[async_trait]
impl LanguageModel for Gemini {
    async fn ask(&self, question: &Question) -> Result<Answer, ModelError> {
        let body = json!({
            "systemInstruction": { "parts": [{ "text": question.system }] },
            "contents": [{ "role": "user", "parts": [{ "text": question.user }] }],
            "generationConfig": {
                "responseMimeType": "application/json",
                "responseSchema": dialect(&question.schema),
                "maxOutputTokens": question.max_output_tokens,
            },
        });
        let mut request = self.transport.http().post(self.url.clone()).json(&body);
        if let Some(key) = &self.key {
            request = request.header(KEY, key.clone());
        }
        let request = request.build().map_err(|_| unavailable("the request could not be made"))?;
        let body = self.transport.send(request).await?;
        let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        let candidate = &answer["candidates"][0];
        let parts = candidate["content"]["parts"].as_array();
        let text: Vec<&str> = parts.into_iter().flatten().filter_map(|part| part["text"].as_str()).collect();
        let truncated = candidate["finishReason"] == "MAX_TOKENS";
        if text.is_empty() && !truncated {
            return Err(ModelError::Malformed { reason: "it has no text".to_owned() });
        }
        let used = &answer["usageMetadata"];
        let thought = used["thoughtsTokenCount"].as_u64().unwrap_or_default();
        Ok(Answer {
            text: text.concat(),
            truncated,
            input_tokens: used["promptTokenCount"].as_u64(),
            output_tokens: used["candidatesTokenCount"].as_u64().map(|tokens| tokens + thought),
        })
    }
}
