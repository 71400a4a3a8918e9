"""Studies: many trainings of many recipes and seeds on one device, measured alike. Test is not read."""
