//! The static table that stands in for the model: words and their three-letter parts hashed into a
//! vector, with words that mean the same sharing a place. Deterministic, made from nothing but the
//! text, and weak: it knows spelling and a list of synonyms, no language.

use super::minilm::cosine;
use autonomos_domain::matching::{Similarity, names};

/// Hashed words and trigrams.
#[derive(Debug, Default)]
pub struct HashedWords;

impl HashedWords {
    pub const NAME: &'static str = "hashed words and trigrams 1";
    const DIMENSIONS: usize = 1024;

    pub fn new() -> Self {
        Self
    }

    /// The first part of the text, up to `;`, is its name and weighs most.
    fn embed(text: &str) -> Vec<f32> {
        let mut vector = vec![0.0_f32; Self::DIMENSIONS];
        for (part, words) in text.split(';').enumerate() {
            let weight = if part == 0 { 1.0 } else { 0.35 };
            for word in names::expanded(&names::tokens(words)) {
                add(&mut vector, &word, 1.5 * weight);
                let letters: Vec<char> = format!("^{word}$").chars().collect();
                for gram in letters.windows(3) {
                    add(&mut vector, &gram.iter().collect::<String>(), 0.5 * weight);
                }
            }
        }
        let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt().max(1e-12);
        vector.iter().map(|value| value / length).collect()
    }
}

fn add(vector: &mut [f32], text: &str, weight: f32) {
    let hash = blake3::hash(text.as_bytes());
    let bytes = hash.as_bytes();
    let place = usize::from(u16::from_le_bytes([bytes[0], bytes[1]])) % HashedWords::DIMENSIONS;
    vector[place] += if bytes[2] & 1 == 0 { weight } else { -weight };
}

impl Similarity for HashedWords {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn trust(&self) -> f64 {
        0.3
    }

    fn matrix(&self, left: &[String], right: &[String]) -> Option<Vec<Vec<f64>>> {
        let right: Vec<Vec<f32>> = right.iter().map(|text| Self::embed(text)).collect();
        let row = |text: &String| {
            let one = Self::embed(text);
            right.iter().map(|other| cosine(&one, other)).collect()
        };
        Some(left.iter().map(row).collect())
    }
}
