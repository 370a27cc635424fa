"""What a store keeps of pipelines: steps that ran, results to use again, proofs, schedules."""
