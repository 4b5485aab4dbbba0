//! Places on the globe as points in space, which compare by distance without trigonometry.

/// On the unit sphere.
pub type Point = [f64; 3];

/// The point at a latitude and longitude in degrees; `None` for numbers that are none.
pub fn point((latitude, longitude): (f64, f64)) -> Option<Point> {
    let (sin_latitude, cos_latitude) = latitude.to_radians().sin_cos();
    let (sin_longitude, cos_longitude) = longitude.to_radians().sin_cos();
    let point = [cos_latitude * cos_longitude, cos_latitude * sin_longitude, sin_latitude];
    point.iter().all(|coordinate| coordinate.is_finite()).then_some(point)
}
