"""The messages and services of the Holdfast contract, generated from `proto/holdfast/v1`. Do not edit."""
