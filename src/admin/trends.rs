//! How it went: samples of the monitor as plots want them.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::AdminState;
use super::problem::Problem;
use super::query::{Parameters, wrong};
use super::view::{TrendQuery, TrendView, TrendsView, shortened};
use crate::clock;
use crate::monitor::series::Key;
use crate::monitor::trend::{Field, Grid};

/// Series of one answer.
const SERIES_MAX: usize = 100;
/// Steps of one answer, unless `points` says otherwise, and at most.
const POINTS: u64 = 600;
const POINTS_MAX: u64 = 2000;
/// How far back, unless `range` says otherwise.
const RANGE: &str = "10m";

pub async fn trends(
    State(state): State<Arc<AdminState>>,
    Parameters(query): Parameters<TrendQuery>,
) -> Result<Json<TrendsView>, Problem> {
    let range = query.range.as_deref().unwrap_or(RANGE);
    let range = crate::config::parse_time(range).map_err(|help| wrong(&format!("range: {help}")))?;
    let points = query.points.unwrap_or(POINTS);
    if !(1..=POINTS_MAX).contains(&points) {
        return Err(wrong(&format!("points: from 1 to {POINTS_MAX}")));
    }
    let names: Vec<&str> = query.series.as_deref().unwrap_or("system").split(',').collect();
    if names.len() > SERIES_MAX {
        return Err(wrong(&format!("series: up to {SERIES_MAX}")));
    }
    let fields = match &query.fields {
        None => Field::ALL.to_vec(),
        Some(words) => words.split(',').map(field).collect::<Result<_, _>>()?,
    };
    let grid = Grid::new(range.as_secs().max(1), points, clock::unix_millis() / 1000).from(query.since.unwrap_or(0));
    let core = state.monitor.lock();
    let series = names.into_iter().map(|name| {
        let key = Key::parse(name).ok_or_else(|| {
            wrong("series: `system`, `upstream/NAME`, `route/NAME` or `master/UPSTREAM/NAME`, separated by commas")
        })?;
        let series = core.series(&key);
        let series =
            series.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, format!("nothing was measured of {name}")))?;
        let columns = grid.values(series, &fields).into_iter();
        let short = |column: Vec<Option<f64>>| column.into_iter().map(|value| value.map(shortened)).collect();
        let columns = fields.iter().zip(columns).map(|(field, column)| (field.word().to_owned(), short(column)));
        Ok(TrendView { name: name.to_owned(), fields: columns.collect() })
    });
    let series = series.collect::<Result<Vec<_>, Problem>>()?;
    Ok(Json(TrendsView { start: grid.start(), step_seconds: grid.step_seconds(), series }))
}

fn field(word: &str) -> Result<Field, Problem> {
    Field::parse(word).ok_or_else(|| {
        let words: Vec<&str> = Field::ALL.into_iter().map(Field::word).collect();
        wrong(&format!("fields: {}, separated by commas", words.join(", ")))
    })
}
