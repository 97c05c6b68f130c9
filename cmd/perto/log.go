package main

import "log/slog"

// newLogger returns a log on stderr with lines of at least a level.
func newLogger(e *env, level slog.Level, asJSON bool) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if asJSON {
		return slog.New(slog.NewJSONHandler(e.err, options))
	}
	return slog.New(slog.NewTextHandler(e.err, options))
}

// logger returns the log of a command that runs nodes in its own process. It has only
// warnings unless verbose is set.
func logger(e *env, verbose bool) *slog.Logger {
	level := slog.LevelWarn
	if verbose {
		level = slog.LevelDebug
	}
	return newLogger(e, level, false)
}
