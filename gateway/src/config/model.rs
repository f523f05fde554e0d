//! The operator's language model: none, or one that is wholly set up.

use super::{
    Address, Config,
    mode::{refused, secret_of},
};
use crate::error::GatewayError;
use autonomos_commands::intelligence::llm::{ModelOptions, Provider};
use std::time::Duration;

/// Nobody waits longer for an answer.
const TIMEOUT_MOST: u64 = 600;
const CONCURRENCY_MOST: usize = 64;

impl Config {
    /// The language model, if the operator set one up. Settings that contradict each other are refused.
    pub(crate) fn model(&self) -> Result<Option<ModelOptions>, GatewayError> {
        let Some(provider) = &self.llm_provider else {
            let set = [
                ("llm_base_url", self.llm_base_url.is_some()),
                ("llm_model", self.llm_model.is_some()),
                ("llm_api_key", self.llm_api_key.is_some()),
                ("llm_api_key_file", self.llm_api_key_file.is_some()),
            ];
            return match set.iter().find(|(_, set)| *set) {
                Some((name, _)) => Err(refused(format!("`{name}` is set and `llm_provider` is not"))),
                None => Ok(None),
            };
        };
        let Some(provider) = Provider::parse(provider) else {
            return Err(refused(format!("`llm_provider` is `{provider}`, not `openai` or `gemini`")));
        };
        let Some(model) = self.llm_model.clone().filter(|model| !model.trim().is_empty()) else {
            return Err(refused("`llm_provider` is set and `llm_model` is not".to_owned()));
        };
        let base_url = self.llm_base_url.as_ref().map_or(provider.base_url(), Address::reveal).to_owned();
        let address = reqwest::Url::parse(&base_url).ok();
        let is_plain = address.is_some_and(|url| {
            ["http", "https"].contains(&url.scheme())
                && url.host_str().is_some()
                && url.username().is_empty()
                && url.password().is_none()
                && url.query().is_none()
        });
        if !is_plain {
            let shown = self.llm_base_url.as_ref();
            return Err(refused(format!(
                "`llm_base_url` is `{shown:?}`, not an address such as `https://host/v1`; a key has a setting of its own"
            )));
        }
        for (name, price) in
            [("llm_input_price", self.llm_input_price), ("llm_output_price", self.llm_output_price)]
        {
            if !(0.0..=1_000_000.0).contains(&price) {
                return Err(refused(format!("`{name}` is `{price}`, not within 0 and 1000000")));
            }
        }
        if !(1..=TIMEOUT_MOST).contains(&self.llm_timeout_seconds) {
            let seconds = self.llm_timeout_seconds;
            return Err(refused(format!(
                "`llm_timeout_seconds` is `{seconds}`, not within 1 and {TIMEOUT_MOST}"
            )));
        }
        if !(1..=CONCURRENCY_MOST).contains(&self.llm_concurrency) {
            let count = self.llm_concurrency;
            return Err(refused(format!(
                "`llm_concurrency` is `{count}`, not within 1 and {CONCURRENCY_MOST}"
            )));
        }
        let api_key = secret_of("llm_api_key", self.llm_api_key.as_ref(), self.llm_api_key_file.as_deref())?;
        if let Some(key) = &api_key
            && (key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            return Err(refused("the language model's key holds what no key does".to_owned()));
        }
        Ok(Some(ModelOptions {
            provider,
            base_url,
            model,
            api_key,
            input_price: self.llm_input_price,
            output_price: self.llm_output_price,
            timeout: Duration::from_secs(self.llm_timeout_seconds),
            concurrency: self.llm_concurrency,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(change: impl FnOnce(&mut Config)) -> Config {
        let mut config = Config {
            llm_provider: Some("openai".to_owned()),
            llm_model: Some("model".to_owned()),
            llm_api_key: serde_json::from_value("pa55".into()).ok(),
            ..Config::default()
        };
        change(&mut config);
        config
    }

    fn check(change: impl FnOnce(&mut Config), expect: &str) {
        let error = config(change).model().err().expect(expect);
        assert_eq!(error.code(), "AOS-0520");
        assert!(error.to_string().contains(expect), "`{error}` does not say `{expect}`");
        assert!(!error.to_string().contains("pa55"), "{error}");
    }

    #[test]
    fn a_language_model_is_set_up_wholly_or_not_at_all() {
        assert!(matches!(Config::default().model(), Ok(None)));
        let Ok(Some(model)) = config(|_| {}).model() else { panic!("no model") };
        assert_eq!(
            (model.base_url.as_str(), model.api_key.as_deref()),
            ("https://api.openai.com/v1", Some("pa55"))
        );
        let shown = format!("{:?} {}", config(|_| {}), serde_json::to_string(&config(|_| {})).expect("JSON"));
        assert!(!shown.contains("pa55"), "{shown}");
        check(|config| config.llm_provider = None, "`llm_model` is set");
        check(|config| config.llm_provider = Some("claude".to_owned()), "`claude`");
        check(|config| config.llm_model = None, "`llm_model` is not");
        let url = |text: &str| serde_json::from_value(text.into()).ok();
        check(|config| config.llm_base_url = url("ftp://host"), "`llm_base_url`");
        check(|config| config.llm_base_url = url("http://me:pa55@host/v1"), "`llm_base_url`");
        check(|config| config.llm_base_url = url("http://host/v1?key=pa55"), "`llm_base_url`");
        check(|config| config.llm_output_price = -1.0, "`llm_output_price`");
        check(|config| config.llm_timeout_seconds = 0, "`llm_timeout_seconds`");
        check(|config| config.llm_concurrency = 0, "`llm_concurrency`");
        check(|config| config.llm_api_key_file = Some("key".into()), "both set");
    }
}
