"""The methods: what fit n of an experiment is. A fit trains one model per fold and scores every image."""
