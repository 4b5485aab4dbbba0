mod join;
mod memory;
mod model;
mod rules;
mod simulation;
