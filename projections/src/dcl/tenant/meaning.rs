//! What commits of the other aggregates mean for the views: mappings, connections, decisions on
//! identity, rules of survivorship, the ontology.

use super::{Work, set_meta};
use crate::{
    dcl::{
        canon, cluster,
        normalise::rule_key,
        program::Program,
        quarantine, reproject,
        sql::Result,
        state::Segment,
        survive,
        tables::{self, literal},
    },
    error::ProjectionError,
};
use autonomos_domain::{
    aggregates::{
        connection::ConnectionEvent, identity::IdentityEvent, mapping::MappingEvent,
        unified_view::UnifiedViewEvent,
    },
    ids::{ConnectionId, FeedId},
    ontology::{Entity, Ontology},
};
use std::collections::BTreeSet;
use uuid::Uuid;

impl Work<'_> {
    pub(super) fn mapping(&mut self, seq: i64, id: FeedId, events: &[MappingEvent]) -> Result<()> {
        let mut before = None;
        for (index, event) in events.iter().enumerate() {
            let (version, content) = match event {
                MappingEvent::MappingCreated { connection_id, stream, version, content, .. } => {
                    self.state.feed(self.db, id, connection_id.0, stream)?;
                    (*version, content)
                }
                MappingEvent::MappingRevised { version, content, .. } => (*version, content),
                MappingEvent::MappingBound { binding } => {
                    let Some(feed) = self.state.find(id) else { continue };
                    let row = &mut self.state.feeds[feed];
                    before.get_or_insert_with(|| (row.all_segments(), row.entity.clone()));
                    let held: Vec<String> = binding.held.iter().map(|name| literal(name)).collect();
                    self.db.run(&format!(
                        "INSERT INTO bindings VALUES ({}, {}, {}, CAST([{}] AS VARCHAR[]), {}, {}, {seq}, {index})",
                        row.number,
                        binding.schema_version,
                        binding.mapping_version,
                        held.join(", "),
                        binding.hold_rows,
                        binding.suspect_from.map_or("NULL".to_owned(), |number| number.to_string()),
                    ))?;
                    row.learn(event);
                    continue;
                }
                _ => continue,
            };
            let Some(feed) = self.state.find(id) else { continue };
            let row = &mut self.state.feeds[feed];
            let text = serde_json::to_string(content)
                .map_err(|error| ProjectionError::Payload(error.to_string()))?;
            self.db.run(&format!(
                "INSERT INTO mappings VALUES ({}, {version}, {seq}, {})",
                row.number,
                literal(&text)
            ))?;
            row.learn(event);
        }
        let (Some(feed), Some((segments, entity))) = (self.state.find(id), before) else { return Ok(()) };
        self.rebound(seq, feed, &segments, entity)
    }

    /// The bindings of a feed changed: what they concern is projected again.
    fn rebound(
        &mut self,
        seq: i64,
        feed: usize,
        before: &[Segment],
        entity_before: Option<String>,
    ) -> Result<()> {
        let row = &self.state.feeds[feed];
        let after = row.all_segments();
        let moved = row.entity != entity_before;
        if moved {
            let entity = row.entity.as_deref().map_or("NULL".to_owned(), literal);
            self.db.run(&format!("UPDATE feeds SET entity = {entity} WHERE feed = {}", row.number))?;
        }
        if !reproject::has_rows(self.db, row, &reproject::concerned(before, &after, moved))? {
            return Ok(());
        }
        if moved && entity_before.is_some() {
            let entity = self.state.feeds[feed].entity.clone();
            self.state.feeds[feed].entity = entity_before;
            self.records_close(seq, feed)?;
            self.state.feeds[feed].entity = entity;
        }
        self.reproject(seq, feed)
    }

    fn reproject(&mut self, seq: i64, feed: usize) -> Result<()> {
        let name = self.state.entity_of(feed).map(|entity| entity.name.clone());
        let entity = match name {
            Some(name) => self.entity(&name)?,
            None => None,
        };
        let Some(entity) = entity else {
            return quarantine::settle(self.db, &self.state.feeds[feed], seq, None);
        };
        canon::delta_begin(self.db, &entity)?;
        reproject::fill_delta(self.db, &entity, &self.state.feeds[feed], seq)?;
        quarantine::settle(self.db, &self.state.feeds[feed], seq, Some("q"))?;
        self.delta(&entity, seq, false)
    }

    pub(super) fn connection(
        &mut self,
        seq: i64,
        id: ConnectionId,
        events: &[ConnectionEvent],
    ) -> Result<()> {
        for event in events {
            match event {
                ConnectionEvent::StreamsSelected { streams } => {
                    for stream in streams {
                        let feed =
                            self.state.feed(self.db, FeedId::of(id, &stream.name), id.0, &stream.name)?;
                        if self.state.feeds[feed].priority != stream.priority {
                            self.priority(seq, feed, stream.priority)?;
                        }
                    }
                }
                ConnectionEvent::ConnectionDeleted {} => {
                    let sql =
                        format!("SELECT feed FROM feeds WHERE connection_id = '{}' ORDER BY feed", id.0);
                    for feed in self.db.rows(&sql, |row| row.get::<_, i32>(0))? {
                        self.feed_close(seq, feed as usize)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn priority(&mut self, seq: i64, feed: usize, priority: i32) -> Result<()> {
        let row = &mut self.state.feeds[feed];
        row.priority = priority;
        let number = row.number;
        self.db.run(&format!("UPDATE feeds SET priority = {priority} WHERE feed = {number}"))?;
        let Some(name) = row.entity.clone().filter(|name| self.state.entities.contains(name)) else {
            return Ok(());
        };
        let Some(entity) = self.entity(&name)? else { return Ok(()) };
        self.db.temp(
            "su",
            "",
            &format!(
                "SELECT DISTINCT uid, CAST({seq} AS BIGINT) AS pos FROM {} WHERE feed = {number} AND NOT solo",
                tables::records(&name)
            ),
        )?;
        survive::unify(self.db, &entity, self.state.rules.get(&entity.name))
    }

    pub(super) fn identity(&mut self, seq: i64, events: &[IdentityEvent]) -> Result<()> {
        let mut entities: BTreeSet<String> = BTreeSet::new();
        let mut records: Vec<Uuid> = Vec::new();
        for (index, event) in events.iter().enumerate() {
            let (entity, left, right, kind) = match event {
                IdentityEvent::RecordsMerged { entity, left, right } => (entity, left, right, "merge"),
                IdentityEvent::RecordsUnmerged { entity, left, right } => (entity, left, right, "unmerge"),
            };
            self.db.run(&format!(
                "INSERT INTO links VALUES ({}, '{left}', '{right}', '{kind}', {seq}, {index})",
                literal(entity)
            ))?;
            entities.insert(entity.clone());
            records.extend([*left, *right]);
        }
        let named: Vec<String> = records.iter().map(|sid| format!("'{sid}'")).collect();
        for name in entities.into_iter().filter(|name| self.state.entities.contains(name)).collect::<Vec<_>>()
        {
            let Some(entity) = self.entity(&name)? else { continue };
            let clusters = format!(
                "SELECT uid, CAST({seq} AS BIGINT) AS pos FROM {} WHERE sid IN ({})",
                tables::records(&name),
                named.join(", ")
            );
            if self.db.any(&clusters)? {
                cluster::solve_again(self.db, &entity, &clusters)?;
                survive::unify(self.db, &entity, self.state.rules.get(&entity.name))?;
            }
        }
        Ok(())
    }

    /// Other rules of survivorship: every row of two and more records is picked again.
    pub(super) fn rules(&mut self, seq: i64, events: &[UnifiedViewEvent]) -> Result<()> {
        for UnifiedViewEvent::UnifiedViewRevised { entity: name, rules, .. } in events {
            self.state.rules.insert(name.clone(), rules.clone());
            let text = serde_json::to_string(&self.state.rules)
                .map_err(|error| ProjectionError::Payload(error.to_string()))?;
            set_meta(self.db, "view_rules", &text)?;
            if !self.state.entities.contains(name) {
                continue;
            }
            let Some(entity) = self.entity(name)? else { continue };
            let clusters = format!(
                "SELECT DISTINCT uid, CAST({seq} AS BIGINT) AS pos FROM {} WHERE NOT solo",
                tables::records(name)
            );
            self.db.temp("su", "", &clusters)?;
            survive::unify(self.db, &entity, self.state.rules.get(name))?;
        }
        Ok(())
    }

    /// Another ontology: columns are added, keys made again, records projected and clusters solved
    /// again where their entity changed.
    pub(super) fn ontology(&mut self, seq: i64, ontology: &Ontology) -> Result<()> {
        let text =
            serde_json::to_string(ontology).map_err(|error| ProjectionError::Payload(error.to_string()))?;
        set_meta(self.db, "ontology", &text)?;
        let before = std::mem::replace(&mut self.state.ontology, ontology.clone());
        for old in &before.entities {
            let new = ontology.entities.iter().find(|entity| entity.name == old.name);
            let touched =
                new.is_none_or(|new| new.fields != old.fields || new.match_rules != old.match_rules);
            if !touched || !self.state.entities.contains(&old.name) {
                continue;
            }
            let feeds: Vec<usize> = (0..self.state.feeds.len())
                .filter(|&feed| self.state.feeds[feed].entity.as_ref() == Some(&old.name))
                .filter(|&feed| !self.state.feeds[feed].columns.is_empty())
                .collect();
            let Some(new) = new else {
                for feed in feeds {
                    self.state.ontology.entities.push(old.clone());
                    let closed = self.records_close(seq, feed);
                    self.state.ontology.entities.pop();
                    closed?;
                    quarantine::settle(self.db, &self.state.feeds[feed], seq, None)?;
                }
                continue;
            };
            self.columns(new)?;
            for feed in feeds {
                self.reproject(seq, feed)?;
            }
            let records = tables::records(&new.name);
            for rule in &new.match_rules {
                let mut program = Program::new("r");
                let key = rule_key(&mut program, new, rule, "r");
                self.db.run(&format!(
                    "UPDATE {records} SET {} = n.k FROM (SELECT r.sid AS s, {key} AS k FROM {} r) n WHERE n.s = {records}.sid",
                    tables::key_column(&rule.name),
                    program.over(&records)
                ))?;
            }
            let all = format!("SELECT DISTINCT uid, CAST({seq} AS BIGINT) AS pos FROM {records}");
            if self.db.any(&all)? {
                cluster::solve_again(self.db, new, &all)?;
                survive::unify(self.db, new, self.state.rules.get(&new.name))?;
            }
        }
        // An entity that was taken away and is back, or is new, takes its feeds' records in.
        for new in &ontology.entities {
            if before.entities.iter().any(|old| old.name == new.name) {
                continue;
            }
            for feed in 0..self.state.feeds.len() {
                let row = &self.state.feeds[feed];
                if row.entity.as_ref() == Some(&new.name) && !row.columns.is_empty() {
                    self.reproject(seq, feed)?;
                }
            }
        }
        Ok(())
    }

    /// Adds the columns that an entity's tables lack.
    fn columns(&self, entity: &Entity) -> Result<()> {
        let mut tables_of = Vec::new();
        for (name, columns) in [
            (tables::records(&entity.name), tables::record_columns(entity)),
            (tables::records_history(&entity.name), tables::record_columns(entity)),
            (tables::unified(&entity.name), tables::unified_columns(entity)),
            (tables::unified_history(&entity.name), tables::unified_columns(entity)),
        ] {
            for (column, kind) in columns {
                tables_of.push(format!(
                    "ALTER TABLE {name} ADD COLUMN IF NOT EXISTS {column} {};",
                    tables::stored(kind)
                ));
            }
        }
        self.db.batch(&tables_of.join("\n"))
    }
}
