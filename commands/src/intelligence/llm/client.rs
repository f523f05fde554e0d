//! The operator's language model with what protects it and us: few requests at a time, a time-out, a
//! pause after repeated failures, and answers that are checked.

use super::{
    Answer, LanguageModel, ModelError, ModelOptions, Provider, Question,
    gemini::Gemini,
    openai::OpenAi,
    transport::{Transport, unavailable},
};
use autonomos_domain::aggregates::llm_account::{LlmOutcome, LlmUse};
use parking_lot::Mutex;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// After so many failures in a row the model is left alone.
const FAILURES: u32 = 5;
/// For so long.
const PAUSE: Duration = Duration::from_mins(1);
/// Requests that one question may take: the second says what is wrong with the first answer.
const TRIES: u32 = 2;

#[derive(Debug, Default)]
struct Circuit {
    failures: u32,
    closed_from: Option<Instant>,
}

/// The configured model.
pub struct ModelClient {
    model: Box<dyn LanguageModel>,
    options: ModelOptions,
    turns: Semaphore,
    circuit: Mutex<Circuit>,
}

/// What became of a question, and what it took.
#[derive(Debug)]
pub struct Consulted<T> {
    pub result: Result<T, ModelError>,
    pub used: LlmUse,
}

impl ModelClient {
    pub fn new(options: ModelOptions) -> Result<Self, ModelError> {
        let transport = Transport::new(options.timeout)?;
        let model: Box<dyn LanguageModel> = match options.provider {
            Provider::OpenAi => Box::new(OpenAi::new(&options, transport)),
            Provider::Gemini => Box::new(Gemini::new(&options, transport)?),
        };
        Ok(Self::of(model, options))
    }

    /// Over any model.
    pub fn of(model: Box<dyn LanguageModel>, options: ModelOptions) -> Self {
        let turns = Semaphore::new(options.concurrency.max(1));
        Self { model, options, turns, circuit: Mutex::default() }
    }

    /// The model's name.
    pub fn name(&self) -> &str {
        &self.options.model
    }

    /// The most that a question may take: tokens, and millionths of the operator's currency.
    pub fn most(&self, question: &Question) -> (u64, u64) {
        let tries = u64::from(TRIES);
        let (input, output) =
            (question.tokens() * tries + 200, u64::from(question.max_output_tokens) * tries);
        (input + output, self.cost(input, output))
    }

    /// A price per million tokens is as many millionths of it a token.
    fn cost(&self, input: u64, output: u64) -> u64 {
        (input as f64 * self.options.input_price + output as f64 * self.options.output_price).ceil() as u64
    }

    /// Asks until `read` takes the answer, twice at most.
    pub async fn consult<T>(
        &self,
        question: &Question,
        read: impl Fn(&str) -> Result<T, String> + Send + Sync,
    ) -> Consulted<T> {
        let began = Instant::now();
        let (mut requests, mut input, mut output) = (0, 0, 0);
        let mut asked = question.clone();
        let result = loop {
            let answer = match self.ask(&asked).await {
                Ok(answer) => answer,
                // Nothing was sent.
                Err(error @ ModelError::CircuitOpen { .. }) => break Err(error),
                Err(error) => {
                    requests += 1;
                    break Err(error);
                }
            };
            requests += 1;
            input += answer.input_tokens.unwrap_or_else(|| asked.tokens());
            output += answer.output_tokens.unwrap_or(answer.text.len() as u64 / 3 + 1);
            let reason = match (answer.truncated, read(&answer.text)) {
                (false, Ok(read)) => break Ok(read),
                (true, _) => "it was cut off: answer more shortly".to_owned(),
                (false, Err(reason)) => reason,
            };
            if requests == TRIES {
                break Err(if answer.truncated {
                    ModelError::Truncated
                } else {
                    ModelError::Malformed { reason }
                });
            }
            asked.user = format!(
                "{}\n\nYour last answer could not be used: {reason}. Answer again, with the JSON object alone.",
                question.user
            );
        };
        let outcome = result.as_ref().err().map_or(LlmOutcome::Answered, ModelError::outcome);
        let used = LlmUse {
            outcome,
            requests,
            input_tokens: input,
            output_tokens: output,
            cost_micros: self.cost(input, output),
            latency_ms: began.elapsed().as_millis() as u64,
        };
        Consulted { result, used }
    }

    async fn ask(&self, question: &Question) -> Result<Answer, ModelError> {
        let turn = tokio::time::timeout(self.options.timeout, self.turns.acquire()).await;
        let Ok(Ok(_turn)) = turn else { return Err(unavailable("too many questions wait for it")) };
        if let Some(closed) = self.circuit.lock().left() {
            return Err(closed);
        }
        let answer = tokio::time::timeout(self.options.timeout, self.model.ask(question)).await;
        let answer = answer.unwrap_or(Err(ModelError::TimedOut));
        self.circuit.lock().note(answer.as_ref().err());
        answer
    }
}

impl Circuit {
    /// Why nothing is asked now.
    fn left(&self) -> Option<ModelError> {
        let passed = self.closed_from?.elapsed();
        let wait = PAUSE.checked_sub(passed).filter(|wait| !wait.is_zero())?;
        Some(ModelError::CircuitOpen { failures: self.failures, wait })
    }

    fn note(&mut self, failure: Option<&ModelError>) {
        match failure {
            None | Some(ModelError::Malformed { .. } | ModelError::Truncated) => *self = Self::default(),
            Some(_) => {
                self.failures += 1;
                // One more after the pause begins another.
                self.closed_from = (self.failures >= FAILURES).then(Instant::now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_trait::async_trait;
    use serde_json::json;
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    struct Scripted {
        asked: Arc<AtomicU32>,
        answer: fn(u32) -> Result<Answer, ModelError>,
    }

    #[async_trait]
    impl LanguageModel for Scripted {
        async fn ask(&self, _: &Question) -> Result<Answer, ModelError> {
            (self.answer)(self.asked.fetch_add(1, Ordering::Relaxed) + 1)
        }
    }

    fn text(text: &str, truncated: bool) -> Answer {
        Answer { text: text.to_owned(), truncated, input_tokens: Some(1_000), output_tokens: Some(100) }
    }

    fn client(answer: fn(u32) -> Result<Answer, ModelError>) -> (ModelClient, Arc<AtomicU32>) {
        let asked = Arc::new(AtomicU32::new(0));
        let options = ModelOptions {
            provider: Provider::OpenAi,
            base_url: String::new(),
            model: "scripted".to_owned(),
            api_key: None,
            input_price: 2.0,
            output_price: 8.0,
            timeout: Duration::from_secs(5),
            concurrency: 1,
        };
        (ModelClient::of(Box::new(Scripted { asked: Arc::clone(&asked), answer }), options), asked)
    }

    fn question() -> Question {
        Question {
            system: "system".to_owned(),
            user: "user".to_owned(),
            schema: json!({}),
            schema_name: "answer",
            max_output_tokens: 50,
        }
    }

    fn read(text: &str) -> Result<u32, String> {
        text.parse().map_err(|_| "it is no number".to_owned())
    }

    /// The answer, or the error's code; and what it took: requests and cost.
    async fn check(
        answer: fn(u32) -> Result<Answer, ModelError>,
        expect: Result<u32, &str>,
        took: (u32, u64),
    ) {
        let (client, _) = client(answer);
        let found = client.consult(&question(), read).await;
        assert_eq!(found.result.as_ref().map(|answer| *answer).map_err(ModelError::code), expect);
        assert_eq!((found.used.requests, found.used.cost_micros), took);
    }

    #[tokio::test]
    async fn an_answer_is_asked_for_again_once() {
        check(|_| Ok(text("7", false)), Ok(7), (1, 2_800)).await;
        check(|turn| Ok(text(if turn == 1 { "seven" } else { "7" }, false)), Ok(7), (2, 5_600)).await;
        check(|_| Ok(text("seven", false)), Err("AOS-0374"), (2, 5_600)).await;
        check(|_| Ok(text("7", true)), Err("AOS-0375"), (2, 5_600)).await;
        check(|_| Err(ModelError::RateLimited { wait: None }), Err("AOS-0371"), (1, 0)).await;
    }

    #[tokio::test]
    async fn what_fails_again_and_again_is_left_alone() {
        let (client, asked) = client(|_| Err(ModelError::TimedOut));
        for _ in 0..FAILURES {
            let found = client.consult(&question(), read).await;
            assert_eq!(found.result.map_err(|error| error.code()), Err("AOS-0372"));
        }
        let found = client.consult(&question(), read).await;
        assert_eq!(found.used.requests, 0);
        let error = found.result.expect_err("left alone");
        assert_eq!((error.code(), error.wait().is_some()), ("AOS-0376", true));
        assert_eq!(asked.load(Ordering::Relaxed), FAILURES);
    }
}
