//! OpenAI's chat completions, by whatever server speaks them.

use super::{Answer, LanguageModel, ModelError, ModelOptions, Question, transport::Transport};
use async_openai::{Client, config::OpenAIConfig, error::OpenAIError, middleware::HttpRequestFactory};
use async_trait::async_trait;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};

pub(super) struct OpenAi {
    client: Client<OpenAIConfig>,
    model: String,
    /// The server refused a schema of the answer once: it is asked without.
    plain: AtomicBool,
}

impl OpenAi {
    pub(super) fn new(options: &ModelOptions, transport: Transport) -> Self {
        // Each setting is named here: what is left out is taken from the environment.
        let config = OpenAIConfig::new()
            .with_api_base(options.base_url.trim_end_matches('/'))
            .with_api_key(options.api_key.as_deref().unwrap_or("none"))
            .with_org_id("")
            .with_project_id("");
        // Below the client's own handling of failures, which would log what a server answers.
        let http = transport.http().clone();
        let service = tower::service_fn(move |factory: HttpRequestFactory| {
            let transport = transport.clone();
            async move {
                let request = factory.build().await?;
                let body = transport.send(request).await.map_err(|error| OpenAIError::Boxed(error.into()))?;
                Ok::<reqwest::Response, OpenAIError>(http::Response::new(body).into())
            }
        });
        let client = Client::build(http, config).with_http_service(service);
        Self { client, model: options.model.clone(), plain: AtomicBool::new(false) }
    }

    async fn complete(&self, question: &Question, with_schema: bool) -> Result<Answer, ModelError> {
        let mut request = json!({
            "model": self.model,
            "stream": false,
            "max_completion_tokens": question.max_output_tokens,
            "messages": [
                { "role": "system", "content": question.system },
                { "role": "user", "content": question.user },
            ],
        });
        if with_schema {
            request["response_format"] = json!({
                "type": "json_schema",
                "json_schema": { "name": question.schema_name, "strict": true, "schema": question.schema },
            });
        }
        let answer: Value = self.client.chat().create_byot(request).await.map_err(failure)?;
        let choice = &answer["choices"][0];
        let Some(text) = choice["message"]["content"].as_str() else {
            return Err(ModelError::Malformed { reason: "it has no text".to_owned() });
        };
        Ok(Answer {
            text: text.to_owned(),
            truncated: choice["finish_reason"] == "length",
            input_tokens: answer["usage"]["prompt_tokens"].as_u64(),
            output_tokens: answer["usage"]["completion_tokens"].as_u64(),
        })
    }
}

fn failure(error: OpenAIError) -> ModelError {
    match error {
        OpenAIError::Boxed(inner) => match inner.downcast::<ModelError>() {
            Ok(own) => *own,
            Err(_) => super::transport::unavailable("the client failed"),
        },
        _ => super::transport::unavailable("the client failed"),
    }
}

#[async_trait]
impl LanguageModel for OpenAi {
    async fn ask(&self, question: &Question) -> Result<Answer, ModelError> {
        if self.plain.load(Ordering::Relaxed) {
            return self.complete(question, false).await;
        }
        match self.complete(question, true).await {
            Err(ModelError::Refused { status: 400 | 422, .. }) => {
                let answer = self.complete(question, false).await?;
                self.plain.store(true, Ordering::Relaxed);
                Ok(answer)
            }
            other => other,
        }
    }
}
