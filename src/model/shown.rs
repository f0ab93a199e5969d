//! What `mvd inspect` says of a model, and from where each fact is known.

use std::fmt;

use super::opened::{Known, Opened};
use crate::weights::{Kind, Stack};

impl fmt::Display for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let says = |known: &Known<usize>| format!("{} ({})", known.value, known.from);
        match &self.family {
            Some(known) => writeln!(f, "model      {} ({})", known.value.name(), known.from)?,
            None => writeln!(f, "model      not known; commands ask for --model mvd or --model videomae")?,
        }
        let table = self.family.as_ref().map_or("as the model's", |known| known.value.table_name());
        let tokens = |[times, places]: [usize; 2]| format!("for {times} x {places} tokens");
        writeln!(f, "positions  {table}, {}", self.about.learned.map_or("computed for any grid".to_owned(), tokens))?;
        match &self.heads() {
            Some(known) => writeln!(f, "heads      {}", says(known))?,
            None => {
                let Stack { dim, depth } = self.about.encoder;
                writeln!(
                    f,
                    "heads      not known; commands ask for --heads, distill for the size: {dim},{depth},HEADS"
                )?;
            }
        }
        if self.about.kind != Kind::Mae {
            writeln!(f, "frames     {}, stride {}", says(&self.frames), says(&self.stride))?;
        }
        write!(f, "size       {}", says(&self.size))?;
        if let Some(classes) = self.about.classes {
            write!(f, "\npooling    {} ({})", self.pooling.value.name(), self.pooling.from)?;
            match &self.names {
                Some(Known { value, from }) => {
                    let some = (0..classes.min(5)).map(|class| self.class_name(class)).collect::<Vec<_>>().join(", ");
                    let more = if value.len() > 5 { ", ..." } else { "" };
                    write!(f, "\nclasses    {classes}: {some}{more} ({from})")?;
                }
                None => write!(f, "\nclasses    {classes}, without names")?,
            }
        }
        Ok(())
    }
}
