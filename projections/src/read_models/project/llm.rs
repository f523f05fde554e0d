//! What language models were asked and cost, by day, model and purpose; and how often the past spared
//! a question.

use super::{super::rows::LlmUsageRow, Scene, Work};
use autonomos_domain::{
    aggregates::{
        llm_account::{LlmAccountEvent, LlmOutcome, LlmPurpose},
        mapping::MappingEvent,
    },
    mapping::MappingOrigin,
};
use chrono::{DateTime, NaiveDate, Utc};

/// The row of one day; a model's name may be any text, so it stands last.
pub(super) fn usage_id(day: NaiveDate, purpose: LlmPurpose, model: Option<&str>) -> String {
    format!("{day}/{}/{}", purpose.as_str(), model.unwrap_or_default())
}

/// The rows that an event of the account changes.
pub(super) fn settled_id(event: &LlmAccountEvent, at: DateTime<Utc>) -> Option<String> {
    match event {
        LlmAccountEvent::LlmCallSettled { model, purpose, .. } => {
            Some(usage_id(at.date_naive(), *purpose, Some(model)))
        }
        _ => None,
    }
}

/// The row of a proposal that past decisions made, for which no model had to be asked.
pub(super) fn saved_id(event: &MappingEvent, at: DateTime<Utc>) -> Option<String> {
    match event {
        MappingEvent::RepairProposed { changes, .. }
            if changes.iter().any(|change| change.origin == MappingOrigin::Retrieval) =>
        {
            Some(usage_id(at.date_naive(), LlmPurpose::Repair, None))
        }
        _ => None,
    }
}

impl Work {
    fn usage(
        &mut self,
        scene: &Scene<'_>,
        id: &str,
        purpose: LlmPurpose,
        model: Option<&str>,
    ) -> Option<&mut LlmUsageRow> {
        if self.llm_usage.get(scene.tenant, id).is_none() {
            let row = LlmUsageRow {
                day: scene.at.date_naive(),
                model: model.map(str::to_owned),
                purpose,
                calls: 0,
                failed: 0,
                requests: 0,
                input_tokens: 0,
                output_tokens: 0,
                cost_micros: 0,
                latency_ms: 0,
                saved_by_retrieval: 0,
            };
            self.llm_usage.put(scene.tenant, id, scene.order, row);
        }
        self.llm_usage.change(scene.tenant, id)
    }

    pub(super) fn llm_account(&mut self, scene: &Scene<'_>, event: &LlmAccountEvent) {
        let Some(id) = settled_id(event, scene.at) else { return };
        let LlmAccountEvent::LlmCallSettled { model, purpose, used, .. } = event else { return };
        let Some(row) = self.usage(scene, &id, *purpose, Some(model)) else { return };
        row.calls += 1;
        row.failed += u64::from(used.outcome != LlmOutcome::Answered);
        row.requests += u64::from(used.requests);
        row.input_tokens = row.input_tokens.saturating_add(used.input_tokens);
        row.output_tokens = row.output_tokens.saturating_add(used.output_tokens);
        row.cost_micros = row.cost_micros.saturating_add(used.cost_micros);
        row.latency_ms = row.latency_ms.saturating_add(used.latency_ms);
    }

    pub(super) fn saved_by_retrieval(&mut self, scene: &Scene<'_>, event: &MappingEvent) {
        let Some(id) = saved_id(event, scene.at) else { return };
        if let Some(row) = self.usage(scene, &id, LlmPurpose::Repair, None) {
            row.saved_by_retrieval += 1;
        }
    }
}
