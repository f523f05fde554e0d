//! SQL has no local variables: an expression written twice is evaluated twice, and nested ones add up
//! exponentially. A program gives expressions names, each in a subquery below the ones that use it.

use std::collections::HashMap;

/// Named expressions over one relation.
#[derive(Debug, Clone)]
pub(super) struct Program {
    alias: &'static str,
    /// Names and expressions, each level built on those before it.
    levels: Vec<Vec<(String, String)>>,
    /// Name to the level that may use it.
    ready: HashMap<String, usize>,
    /// Expression to name.
    known: HashMap<String, String>,
}

impl Program {
    /// A program over the columns of a relation called `alias`.
    pub(super) fn new(alias: &'static str) -> Self {
        Self { alias, levels: Vec::new(), ready: HashMap::new(), known: HashMap::new() }
    }

    /// Names an expression; the answer is a column to use in its place.
    pub(super) fn bind(&mut self, sql: String) -> String {
        if sql.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '"')) {
            return sql;
        }
        if let Some(name) = self.known.get(&sql) {
            return name.clone();
        }
        let level = self.level(&sql);
        if self.levels.len() == level {
            self.levels.push(Vec::new());
        }
        let name = format!("l{}", self.known.len());
        let column = format!("{}.{name}", self.alias);
        self.levels[level].push((name.clone(), sql.clone()));
        self.ready.insert(name, level + 1);
        self.known.insert(sql, column.clone());
        column
    }

    /// The first level at which everything the expression names is there.
    fn level(&self, sql: &str) -> usize {
        let mark = format!("{}.l", self.alias);
        sql.match_indices(&mark)
            .filter_map(|(at, _)| {
                let rest = &sql[at + mark.len()..];
                let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
                self.ready.get(&format!("l{}", &rest[..digits])).copied()
            })
            .max()
            .unwrap_or(0)
    }

    /// The relation with the named columns added, to be called `alias` again.
    pub(super) fn over(&self, relation: &str) -> String {
        let alias = self.alias;
        self.levels.iter().fold(relation.to_owned(), |relation, level| {
            let columns: Vec<String> = level.iter().map(|(name, sql)| format!(", {sql} AS {name}")).collect();
            format!("(SELECT {alias}.*{} FROM {relation} {alias})", columns.concat())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_below_their_use() {
        let mut program = Program::new("r");
        let trimmed = program.bind("trim(r.a)".to_owned());
        assert_eq!(program.bind("trim(r.a)".to_owned()), trimmed);
        let lower = program.bind(format!("lower({trimmed})"));
        assert_eq!(program.bind("r.a".to_owned()), "r.a");
        assert_eq!(
            program.over("t"),
            format!("(SELECT r.*, lower({trimmed}) AS l1 FROM (SELECT r.*, trim(r.a) AS l0 FROM t r) r)")
        );
        assert_eq!(lower, "r.l1");
    }
}
