//! Fitting the tensors of a file to what a model wants.

use std::path::Path;

use super::stored::{self, Stored};
use super::{Error, Mismatch, Result, Spec, TensorSource, Tensors};

/// How a file's names become a model's names, and what may be absent.
///
/// Applied in this order: `select`, `drop`, `prefix`. A pattern is a name in which `*` stands for any run of characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// Only tensors with this prefix are looked at, and it is taken off (`encoder.`); empty for all.
    pub select: String,
    /// Patterns of tensors not wanted whatever the model (`pos_embed*`, `head.*`).
    pub drop: Vec<String>,
    /// Put before every remaining name.
    pub prefix: String,
    /// Patterns of wanted tensors that may be missing; the result then lacks them.
    pub allow_missing: Vec<String>,
    /// Patterns of tensors that may be left over.
    pub allow_unexpected: Vec<String>,
}

impl Import {
    /// Names exactly as wanted: for our own checkpoints.
    pub fn exact() -> Self {
        Self {
            select: String::new(),
            drop: Vec::new(),
            prefix: String::new(),
            allow_missing: Vec::new(),
            allow_unexpected: Vec::new(),
        }
    }

    /// The name in the model; none if the tensor is not looked at.
    fn name(&self, name: &str) -> Option<String> {
        let name = name.strip_prefix(self.select.as_str())?;
        (!matches_any(&self.drop, name)).then(|| format!("{}{name}", self.prefix))
    }
}

fn matches_any(patterns: &[String], name: &str) -> bool {
    patterns.iter().any(|pattern| matches(pattern, name))
}

/// Whether `name` is an instance of `pattern`, whose `*` stand for anything.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// Takes from `found` what `wanted` names. All that is missing, unexpected or of another shape is
/// listed in one [`Mismatch`]; nothing is dropped in silence but what `rules` say.
pub fn adopt<T: TensorSource<Error = Error>>(
    found: Tensors<T>,
    wanted: &[Spec],
    rules: &Import,
    file: &Path,
) -> Result<Tensors<T>> {
    if let Some(name) = learned(&found, rules)? {
        let file = file.display();
        log::warn!("{file}: {name} is no fixed position table but a learned one; the fixed one is used in its place");
    }
    let mut named: Tensors<T> =
        found.into_iter().filter_map(|(name, tensor)| Some((rules.name(&name)?, tensor))).collect();
    let mut mismatch = Mismatch { path: file.to_path_buf(), ..Mismatch::default() };
    let mut adopted = Tensors::new();
    for spec in wanted {
        match named.remove(&spec.name) {
            Some(tensor) if tensor.shape() == spec.shape => {
                adopted.insert(spec.name.clone(), tensor);
            }
            Some(tensor) => mismatch.misshaped.push((spec.name.clone(), spec.shape.clone(), tensor.shape().to_vec())),
            None if matches_any(&rules.allow_missing, &spec.name) => {}
            None => mismatch.missing.push((spec.name.clone(), spec.shape.clone())),
        }
    }
    mismatch.unexpected = named
        .into_iter()
        .filter(|(name, _)| !matches_any(&rules.allow_unexpected, name))
        .map(|(name, tensor)| (name, tensor.shape().to_vec()))
        .collect();
    if mismatch.is_empty() { Ok(adopted) } else { Err(Error::Mismatch(Box::new(mismatch))) }
}

/// A learned position table that `rules` drop: every model here has fixed ones, as the original programs put them in
/// place of what a file holds.
fn learned<'a, T: TensorSource<Error = Error>>(found: &'a Tensors<T>, rules: &Import) -> Result<Option<&'a str>> {
    let learned = |name: &str, table| matches_any(&rules.drop, name) && matches!(table, Stored::Learned { .. });
    let tables = stored::tables(found)?;
    Ok(tables.into_iter().find(|(name, table)| learned(name, *table)).map(|(name, _)| name))
}

#[cfg(test)]
mod tests {
    use super::super::{HostTensor, Init};
    use super::*;

    fn tensors(names: &[(&str, &[usize])]) -> Tensors {
        names
            .iter()
            .map(|(name, shape)| {
                let data = vec![1.0; shape.iter().product()];
                (name.to_string(), HostTensor { shape: shape.to_vec(), data })
            })
            .collect()
    }

    fn wanted(names: &[(&str, &[usize])]) -> Vec<Spec> {
        names.iter().map(|(name, shape)| Spec::new(*name, *shape, Init::Zeros)).collect()
    }

    #[test]
    fn a_teacher_loses_its_table_and_head() {
        let found = tensors(&[
            ("blocks.0.attn.q_bias", &[4]),
            ("norm.weight", &[4]),
            ("pos_embed", &[1, 5, 4]),
            ("head.weight", &[10, 4]),
        ]);
        let want = wanted(&[("blocks.0.attn.q_bias", &[4]), ("norm.weight", &[4])]);
        let rules = Import { drop: vec!["pos_embed*".into(), "head.*".into()], ..Import::exact() };
        assert_eq!(learned(&found, &rules).unwrap(), Some("pos_embed"));
        assert_eq!(learned(&found, &Import::exact()).unwrap(), None, "nothing is dropped");
        let got = adopt(found, &want, &rules, Path::new("f")).unwrap();
        assert_eq!(got.len(), 2);
    }

    #[test]
    fn a_part_is_selected() {
        let found = tensors(&[("encoder.norm.weight", &[4]), ("decoder.norm.weight", &[2])]);
        let rules = Import { select: "encoder.".into(), prefix: "e.".into(), ..Import::exact() };
        let got = adopt(found, &wanted(&[("e.norm.weight", &[4])]), &rules, Path::new("f")).unwrap();
        assert!(got.get("e.norm.weight").is_some());
    }

    #[test]
    fn all_faults_in_one_error() {
        let found = tensors(&[("a", &[2]), ("b", &[3]), ("extra.x", &[1]), ("more", &[7])]);
        let want = wanted(&[("a", &[4]), ("b", &[3]), ("c", &[5]), ("d.bias", &[6]), ("e", &[8])]);
        let rules = Import {
            allow_missing: vec!["*.bias".into()],
            allow_unexpected: vec!["extra.*".into()],
            ..Import::exact()
        };
        let message = adopt(found, &want, &rules, Path::new("w.pth")).unwrap_err().to_string();
        assert_eq!(
            message,
            "w.pth does not fit the model: 2 missing, 1 unexpected, 1 of another shape\
             \n  missing     c: expected [5], got nothing\
             \n  missing     e: expected [8], got nothing\
             \n  unexpected  more: expected nothing, got [7]\
             \n  wrong shape a: expected [4], got [2]"
        );
    }

    #[test]
    fn as_many_elements_are_not_the_same_shape() {
        let rules = Import::exact();
        let error = adopt(tensors(&[("a", &[2, 3])]), &wanted(&[("a", &[3, 2])]), &rules, Path::new("f")).unwrap_err();
        assert!(error.to_string().contains("wrong shape a: expected [3, 2], got [2, 3]"), "{error}");
    }

    #[test]
    fn patterns() {
        for (pattern, name, expected) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("a*", "ab", true),
            ("*.bias", "x.bias", true),
            ("*.bias", "x.bias2", false),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "ac", false),
            ("a*a", "a", false),
            ("*", "", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
