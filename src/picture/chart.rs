//! Line charts, in panels side by side, drawn with a font of our own: no library of the system is needed.

use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};

use super::Picture;

/// A line.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Series {
    /// What it is.
    pub name: String,
    /// (x, y), x rising.
    pub points: Vec<(f64, f64)>,
    /// How far each point's error bar reaches up and down; empty for none. Lines that are thinned have none.
    pub errors: Vec<f64>,
}

/// One chart.
#[derive(Debug, Clone, PartialEq)]
pub struct Panel {
    /// What is drawn.
    pub title: String,
    /// What lies along x.
    pub x: String,
    /// The y axis is logarithmic; values that are not over 0 are left out.
    pub log: bool,
    /// Lines.
    pub series: Vec<Series>,
}

/// A chart that cannot be drawn.
#[derive(Debug, thiserror::Error)]
#[error("the chart `{title}` cannot be drawn: {reason}")]
pub struct Error {
    /// Its title.
    pub title: String,
    /// What the drawing library says.
    pub reason: String,
}

const FONT: &[u8] = include_bytes!("../../assets/fonts/DejaVuSans-ascii.ttf");
const FAMILY: &str = "sans-serif";
/// Okabe and Ito's colours, told apart by most of those who do not see all colours.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(70, 70, 70),
];
/// Points of a line at most; more are averaged in groups.
const POINTS: usize = 240;

/// At most `POINTS` points: means of groups of equal numbers of them.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let group = points.len().div_ceil(POINTS).max(1);
    let mean = |of: &[(f64, f64)]| {
        let n = of.len() as f64;
        (of.iter().map(|p| p.0).sum::<f64>() / n, of.iter().map(|p| p.1).sum::<f64>() / n)
    };
    points.chunks(group).map(mean).collect()
}

/// The lines as drawn: thinned, finite, in powers of ten if logarithmic.
fn prepared(panel: &Panel) -> Vec<Vec<(f64, f64)>> {
    let scaled = |(x, y): (f64, f64)| (x, if panel.log { y.log10() } else { y });
    let line = |s: &Series| {
        let kept: Vec<(f64, f64)> = s.points.iter().copied().filter(|p| !panel.log || p.1 > 0.0).collect();
        thinned(&kept).into_iter().map(scaled).filter(|p| p.0.is_finite() && p.1.is_finite()).collect()
    };
    panel.series.iter().map(line).collect()
}

/// From below to above each point, as far as its error reaches.
fn error_bars(series: &Series, line: &[(f64, f64)]) -> Vec<[(f64, f64); 2]> {
    if series.errors.len() != line.len() {
        return Vec::new();
    }
    line.iter().zip(&series.errors).map(|((x, y), error)| [(*x, y - error), (*x, y + error)]).collect()
}

/// The range of values with a margin; never empty.
fn range(values: impl Iterator<Item = f64>, margin: f64) -> std::ops::Range<f64> {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    if low > high {
        return 0.0..1.0;
    }
    let room = if high > low { margin * (high - low) } else { 0.5 * low.abs().max(1.0) };
    low - room..high + room
}

/// A number in few characters.
fn short(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 {
        "0".to_owned()
    } else if (0.01..10_000.0).contains(&size) {
        let digits = (2 - size.log10().floor() as i32).clamp(0, 4) as usize;
        let text = format!("{value:.digits$}");
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
    } else {
        format!("{value:.0e}")
    }
}

type Area<'a> = DrawingArea<BitMapBackend<'a>, plotters::coord::Shift>;

fn draw(area: &Area<'_>, panel: &Panel) -> Result<(), Box<dyn std::error::Error>> {
    let lines = prepared(panel);
    let x = range(lines.iter().flatten().map(|p| p.0), 0.0);
    let bars: Vec<Vec<[(f64, f64); 2]>> =
        panel.series.iter().zip(&lines).map(|(s, line)| error_bars(s, line)).collect();
    let reached = bars.iter().flatten().flatten().map(|p| p.1);
    let y = range(lines.iter().flatten().map(|p| p.1).chain(reached), 0.06);
    let mut chart = ChartBuilder::on(area)
        .caption(&panel.title, (FAMILY, 20))
        .margin(10)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(x, y)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.1))
        .axis_style(BLACK.mix(0.5))
        .x_labels(6)
        .y_labels(6)
        .x_desc(&panel.x)
        .label_style((FAMILY, 15))
        .axis_desc_style((FAMILY, 15))
        .x_label_formatter(&|v| short(*v))
        .y_label_formatter(&|v| short(if panel.log { 10f64.powf(*v) } else { *v }))
        .draw()?;
    for (index, ((series, line), bars)) in panel.series.iter().zip(lines).zip(bars).enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        chart.draw_series(bars.into_iter().map(|bar| PathElement::new(bar, colour.mix(0.6))))?;
        let drawn = chart.draw_series(LineSeries::new(line.iter().copied(), colour.stroke_width(2)))?;
        drawn.label(&series.name).legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(3)));
        // A line of one point, such as the first validation, shows as a dot.
        chart.draw_series(line.iter().filter(|_| line.len() < 20).map(|p| Circle::new(*p, 3, colour.filled())))?;
    }
    if panel.series.len() > 1 {
        let labels = &mut chart.configure_series_labels();
        labels.background_style(WHITE.mix(0.8)).label_font((FAMILY, 15)).margin(6).draw()?;
    }
    Ok(())
}

/// A square of values from 0 to 1, `[row][column]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Map {
    /// What it is.
    pub title: String,
    /// The values.
    pub values: Vec<Vec<f64>>,
}

/// Draws maps side by side, `columns` of them in a row, each value a coloured cell with its number.
///
/// # Errors
/// What the drawing library says, with the map's title.
pub fn draw_maps(maps: &[Map], columns: usize, cell: usize) -> Result<Picture, Error> {
    const ROOM: usize = 36;
    let cells = maps.iter().map(|m| m.values.len()).max().unwrap_or(0);
    // Titles want as much room as twenty letters.
    let width = (cells * cell).max(190) + ROOM / 2;
    let height = cells * cell + ROOM + ROOM / 4;
    on_picture(maps.len(), columns, (width, height), |area, index| {
        let map = &maps[index];
        area.draw(&Text::new(map.title.as_str(), (6, 10), (FAMILY, 18)))?;
        for (r, row) in map.values.iter().enumerate() {
            for (c, value) in row.iter().enumerate() {
                let (x, y) = ((6 + c * cell) as i32, (ROOM + r * cell) as i32);
                let [red, green, blue] = super::heat(*value);
                let fill = RGBColor(red, green, blue).filled();
                area.draw(&Rectangle::new([(x, y), (x + cell as i32 - 2, y + cell as i32 - 2)], fill))?;
                let ink = if *value > 0.6 { &BLACK } else { &WHITE };
                let place = (x + cell as i32 / 2 - 14, y + cell as i32 / 2 - 8);
                area.draw(&Text::new(format!("{value:.2}"), place, (FAMILY, 14).into_font().color(ink)))?;
            }
        }
        Ok(())
    })
    .map_err(|(index, reason)| Error { title: maps.get(index).map_or_else(String::new, |m| m.title.clone()), reason })
}

/// Draws a confusion matrix: a row a label, a column a prediction, each cell the share of its label's videos. Names stand beside
/// rows and above columns where there is room.
///
/// # Errors
/// What the drawing library says.
pub fn draw_confusion(counts: &[Vec<usize>], names: &[String]) -> Result<Picture, Error> {
    const SIDE: usize = 1200;
    const LETTERS: usize = 18;
    let cell = (SIDE / counts.len().max(1)).clamp(2, 44);
    let named = cell >= 14;
    let short = |name: &String| name.chars().take(LETTERS).collect::<String>();
    let room = if named { 8 * names.iter().map(|name| short(name).chars().count()).max().unwrap_or(0) + 16 } else { 4 };
    let side = room + cell * counts.len() + 4;
    on_picture(1, 1, (side, side), |area, _| {
        let at = |index: usize| (room + index * cell) as i32;
        let plain = (FAMILY, 13).into_font();
        for (index, name) in names.iter().enumerate().filter(|_| named) {
            let middle = at(index) + cell as i32 / 2;
            area.draw(&Text::new(short(name), (6, middle - 7), plain.clone()))?;
            area.draw(&Text::new(short(name), (middle + 7, 6), plain.clone().transform(FontTransform::Rotate90)))?;
        }
        for (r, row) in counts.iter().enumerate() {
            let all = row.iter().sum::<usize>().max(1) as f64;
            for (c, count) in row.iter().enumerate() {
                let share = *count as f64 / all;
                let [red, green, blue] = super::heat(share);
                let (x, y, last) = (at(c), at(r), cell as i32 - if cell > 8 { 2 } else { 1 });
                area.draw(&Rectangle::new([(x, y), (x + last, y + last)], RGBColor(red, green, blue).filled()))?;
                if cell >= 30 && *count > 0 {
                    let ink = if share > 0.6 { &BLACK } else { &WHITE };
                    let place = (x + cell as i32 / 2 - 10, y + cell as i32 / 2 - 7);
                    area.draw(&Text::new(count.to_string(), place, plain.clone().color(ink)))?;
                }
            }
        }
        Ok(())
    })
    .map_err(|(_, reason)| Error { title: "confusion".to_owned(), reason })
}

type Drawn = Result<(), Box<dyn std::error::Error>>;

/// A picture of `count` areas in rows of `columns`, each drawn by `draw`; the area at fault with what is wrong.
fn on_picture(
    count: usize,
    columns: usize,
    (width, height): (usize, usize),
    draw: impl Fn(&Area<'_>, usize) -> Drawn,
) -> Result<Picture, (usize, String)> {
    register_font(FAMILY, FontStyle::Normal, FONT).map_err(|_| (0, "its font is no font".to_owned()))?;
    let columns = columns.min(count).max(1);
    let rows = count.div_ceil(columns).max(1);
    let mut picture = Picture::new(columns * width, rows * height, [255; 3]);
    {
        let size = (picture.width as u32, picture.height as u32);
        let root = BitMapBackend::with_buffer(&mut picture.rgb, size).into_drawing_area();
        for (index, area) in root.split_evenly((rows, columns)).iter().take(count).enumerate() {
            draw(area, index).map_err(|e| (index, e.to_string()))?;
        }
        root.present().map_err(|e| (0, e.to_string()))?;
    }
    Ok(picture)
}

/// Draws panels of `width` x `height` pixels in rows of `columns`.
///
/// # Errors
/// What the drawing library says, with the panel's title.
pub fn draw_panels(panels: &[Panel], columns: usize, width: usize, height: usize) -> Result<Picture, Error> {
    on_picture(panels.len(), columns, (width, height), |area, index| draw(area, &panels[index])).map_err(
        |(index, reason)| Error { title: panels.get(index).map_or_else(String::new, |p| p.title.clone()), reason },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let shown = [0.0, 1.0, 0.05, 0.125, 12.5, 123.4, 99_999.0, 0.00016].map(short);
        assert_eq!(shown, ["0", "1", "0.05", "0.125", "12.5", "123", "1e5", "2e-4"]);
    }

    #[test]
    fn long_lines_are_thinned_and_ranges_are_never_empty() {
        let points: Vec<(f64, f64)> = (0..1000).map(|i| (f64::from(i), f64::from(i % 2))).collect();
        let thin = thinned(&points);
        assert!(thin.len() <= POINTS && thin.iter().all(|p| (p.1 - 0.5).abs() < 0.2), "{thin:?}");
        assert_eq!(range([].into_iter(), 0.1), 0.0..1.0);
        let one = range([3.0].into_iter(), 0.1);
        assert!(one.start < 3.0 && one.end > 3.0);
    }

    #[test]
    fn error_bars_reach_as_far_as_they_say() {
        let series = Series { name: "a".into(), points: vec![(1.0, 5.0), (2.0, 6.0)], errors: vec![1.0, 0.5] };
        assert_eq!(error_bars(&series, &series.points), [[(1.0, 4.0), (1.0, 6.0)], [(2.0, 5.5), (2.0, 6.5)]]);
        assert!(error_bars(&series, &series.points[..1]).is_empty(), "a line that lost points");
    }

    #[test]
    fn lines_are_drawn_in_their_colours_and_zeros_do_not_break_logarithms() {
        let line = |name: &str, up: f64| Series {
            name: name.into(),
            points: (0..50).map(|i| (f64::from(i), up * f64::from(i))).collect(),
            ..Series::default()
        };
        let panel =
            |log| Panel { title: "loss".into(), x: "step".into(), log, series: vec![line("a", 1.0), line("b", 2.0)] };
        let picture = draw_panels(&[panel(false), panel(true), panel(false)], 2, 320, 240).unwrap();
        assert_eq!((picture.width, picture.height), (640, 480));
        for colour in &COLOURS[..2] {
            let pixel = [colour.0, colour.1, colour.2];
            let count = picture.rgb.chunks_exact(3).filter(|p| *p == pixel).count();
            assert!(count > 200, "{colour:?}: {count}");
        }
        let map = Map { title: "m".into(), values: vec![vec![1.0, 0.0], vec![0.0, 1.0]] };
        let map = draw_maps(&[map], 3, 40).unwrap();
        let bright = map.rgb.chunks_exact(3).filter(|p| *p == super::super::heat(1.0)).count();
        assert!((2000..2 * 40 * 40).contains(&bright), "{bright}");
        // Text leaves dark pixels above the axes.
        let title = picture.rgb[..3 * 640 * 30].chunks_exact(3).filter(|p| p[0] < 80).count();
        assert!(title > 50, "{title}");
    }
}
