mod giving;
mod rules;
mod simulation;
mod world;
