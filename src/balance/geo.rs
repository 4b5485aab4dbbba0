//! The nearest member.
//!
//! Members of the requester's country come first, then distance over the globe decides, then requests in flight, then
//! the order of the configuration. A member without a place comes last. When only the requester's country is known,
//! its centre stands for it towards other countries, and members of that country count as equally near.
//!
//! Distances are compared as squared chords through the globe between unit vectors prepared in advance, which orders
//! places exactly as the great-circle distance does and needs no trigonometry for each member.

use std::cmp::Ordering;

use super::countries;
use super::globe::{Point, point};
use super::{Candidates, Spec, View};

/// Where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Place {
    /// ISO 3166-1 alpha-2, upper case.
    pub country: Option<[u8; 2]>,
    /// Latitude and longitude in degrees.
    pub location: Option<(f64, f64)>,
}

#[derive(Debug)]
pub struct Geo {
    members: Box<[Member]>,
}

#[derive(Debug)]
struct Member {
    country: Option<[u8; 2]>,
    point: Option<Point>,
}

/// A known place: at least one of the two.
#[derive(Debug, Clone, Copy)]
pub struct Origin {
    country: Option<[u8; 2]>,
    /// Whether `point` is only the centre of the country.
    rough: bool,
    point: Option<Point>,
}

impl Place {
    /// A place from the values of the two headers that may tell it. A country code may be in either case; what is not
    /// a known country or a location within range counts as not told.
    #[must_use]
    pub fn parse(country: Option<&[u8]>, location: Option<&[u8]>) -> Option<Self> {
        let place = Self { country: country.and_then(parse_country), location: location.and_then(parse_location) };
        (place.country.is_some() || place.location.is_some()).then_some(place)
    }
}

fn parse_country(value: &[u8]) -> Option<[u8; 2]> {
    let code: [u8; 2] = value.trim_ascii().try_into().ok()?;
    let code = code.map(|letter| letter.to_ascii_uppercase());
    countries::centre(code).map(|_| code)
}

fn parse_location(value: &[u8]) -> Option<(f64, f64)> {
    let (latitude, longitude) = str::from_utf8(value).ok()?.split_once(',')?;
    let degrees = |text: &str, limit: f64| text.trim().parse().ok().filter(|degrees: &f64| degrees.abs() <= limit);
    Some((degrees(latitude, 90.0)?, degrees(longitude, 180.0)?))
}

impl Geo {
    pub fn new(specs: &[Spec]) -> Self {
        let member = |spec: &Spec| Member {
            country: spec.country,
            point: spec.location.and_then(point).or_else(|| spec.country.and_then(countries::centre)),
        };
        Self { members: specs.iter().map(member).collect() }
    }

    /// Where to measure from; `None` when the place says nothing that is known.
    pub fn origin(&self, place: &Place) -> Option<Origin> {
        let located = place.location.and_then(point);
        let point = located.or_else(|| place.country.and_then(countries::centre));
        (point.is_some() || place.country.is_some()).then_some(Origin {
            country: place.country,
            rough: located.is_none(),
            point,
        })
    }

    /// The nearest candidate.
    pub fn pick<V: View>(&self, origin: Origin, candidates: &Candidates<'_, V>) -> Option<usize> {
        let mut nearest: Option<(usize, (bool, f64), u32)> = None;
        for (i, member) in self.members.iter().enumerate() {
            let distance = origin.distance(member);
            let order = nearest.map_or(Ordering::Less, |(_, least, _)| {
                distance.0.cmp(&least.0).then_with(|| distance.1.total_cmp(&least.1))
            });
            if order.is_le() && candidates.contain(i) {
                let in_flight = candidates.view.in_flight(i);
                if order.is_lt() || nearest.is_none_or(|(.., least)| in_flight < least) {
                    nearest = Some((i, distance, in_flight));
                }
            }
        }
        nearest.map(|(i, ..)| i)
    }
}

impl Origin {
    /// How far a member is: whether in another country, then the squared chord.
    fn distance(&self, member: &Member) -> (bool, f64) {
        let abroad = self.country.is_none() || self.country != member.country;
        let distance = match (self.point, member.point) {
            _ if !abroad && self.rough => 0.0,
            (Some(from), Some(to)) => from.iter().zip(to).map(|(a, b)| (a - b) * (a - b)).sum(),
            _ => f64::INFINITY,
        };
        (abroad, distance)
    }
}
