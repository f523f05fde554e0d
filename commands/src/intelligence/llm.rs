//! Language models, asked only for what neither the matcher nor past decisions cover. One port, two
//! protocols behind it: OpenAI's, which many servers speak, and Gemini's own. What a model answers is
//! checked here, is a candidate for a person, and stands in an event: a replay never asks again.

mod ask;
mod client;
mod gemini;
mod openai;
mod question;
mod transport;

pub use ask::{ASK_MODEL_ACTION, ModelAdvisor};
pub(crate) use ask::{AskPayload, open_questions};
pub use client::{Consulted, ModelClient};
pub use question::{
    Column, Gone, MATCH_PROMPT_VERSION, MatchQuestion, Pair, REPAIR_PROMPT_VERSION, RepairQuestion,
};

use async_trait::async_trait;
use autonomos_domain::aggregates::llm_account::LlmOutcome;
use serde_json::Value;
use std::time::Duration;

/// Which protocol a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    /// OpenAI's chat completions: OpenAI itself, Gemini's compatible endpoint, Ollama, vLLM, and others.
    OpenAi,
    /// Gemini's `generateContent`.
    Gemini,
}

impl Provider {
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "openai" => Some(Self::OpenAi),
            "gemini" => Some(Self::Gemini),
            _ => None,
        }
    }

    /// Where the provider itself is.
    pub const fn base_url(self) -> &'static str {
        match self {
            Self::OpenAi => "https://api.openai.com/v1",
            Self::Gemini => "https://generativelanguage.googleapis.com",
        }
    }
}

/// The model that an operator chose.
#[derive(Clone)]
pub struct ModelOptions {
    pub provider: Provider,
    /// Without what the protocol adds: `https://api.openai.com/v1`, `http://127.0.0.1:11434/v1`.
    pub base_url: String,
    pub model: String,
    /// None: the server asks for none.
    pub api_key: Option<String>,
    /// Money per million tokens.
    pub input_price: f64,
    pub output_price: f64,
    /// A request that takes longer has failed.
    pub timeout: Duration,
    /// Requests at a time.
    pub concurrency: usize,
}

/// What a model is asked.
#[derive(Debug, Clone)]
pub struct Question {
    pub system: String,
    pub user: String,
    /// JSON Schema of the answer, in what both protocols know of it.
    pub schema: Value,
    pub schema_name: &'static str,
    pub max_output_tokens: u32,
}

impl Question {
    /// About how many tokens its text is, rather too many than too few.
    pub fn tokens(&self) -> u64 {
        (self.system.len() + self.user.len() + self.schema.to_string().len()) as u64 / 3 + 50
    }
}

/// What it answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub text: String,
    /// Cut off by the limit of tokens.
    pub truncated: bool,
    /// As the server counts them; none: it does not say.
    pub input_tokens: Option<u64>,
    pub output_tokens: Option<u64>,
}

/// Asks a language model one question.
#[async_trait]
pub trait LanguageModel: Send + Sync {
    async fn ask(&self, question: &Question) -> Result<Answer, ModelError>;
}

/// Why there is no answer. No text of the server's is in it: it may quote the key or the question.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    #[error("the language model's server refused the request: {status} {kind}")]
    Refused { status: u16, kind: String },
    #[error("the language model's server asks to wait")]
    RateLimited { wait: Option<Duration> },
    #[error("the language model did not answer in time")]
    TimedOut,
    #[error("the language model's server is not available: {reason}")]
    Unavailable { reason: String },
    #[error("the language model's answer is not usable: {reason}")]
    Malformed { reason: String },
    #[error("the language model's answer was cut off")]
    Truncated,
    /// It failed so often that it is left alone for a while.
    #[error("the language model failed {failures} times in a row: it is asked again in {} s", .wait.as_secs())]
    CircuitOpen { failures: u32, wait: Duration },
}

impl ModelError {
    /// Stable code, `AOS-…`.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "AOS-0370",
            Self::RateLimited { .. } => "AOS-0371",
            Self::TimedOut => "AOS-0372",
            Self::Unavailable { .. } => "AOS-0373",
            Self::Malformed { .. } => "AOS-0374",
            Self::Truncated => "AOS-0375",
            Self::CircuitOpen { .. } => "AOS-0376",
        }
    }

    pub const fn outcome(&self) -> LlmOutcome {
        match self {
            Self::Refused { .. } => LlmOutcome::Refused,
            Self::RateLimited { .. } => LlmOutcome::RateLimited,
            Self::TimedOut => LlmOutcome::TimedOut,
            Self::Unavailable { .. } | Self::CircuitOpen { .. } => LlmOutcome::Unavailable,
            Self::Malformed { .. } => LlmOutcome::Malformed,
            Self::Truncated => LlmOutcome::Truncated,
        }
    }

    /// Worth another try later.
    pub const fn retryable(&self) -> bool {
        matches!(
            self,
            Self::RateLimited { .. } | Self::TimedOut | Self::Unavailable { .. } | Self::CircuitOpen { .. }
        )
    }

    /// No sooner than that.
    pub const fn wait(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { wait } => *wait,
            Self::CircuitOpen { wait, .. } => Some(*wait),
            _ => None,
        }
    }
}
