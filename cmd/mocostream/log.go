package main

import (
	"io"
	"os"

	"mocostream/internal/cliprogress"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/term"
)

// logFlags are the flags of commands that log.
type logFlags struct {
	LogFormat string `enum:"text,json" default:"text" help:"Form of log lines: text or json."`
}

// logger writes to w, one line an entry.
func (f logFlags) logger(w io.Writer) *zap.Logger {
	c := zap.NewProductionEncoderConfig()
	c.EncodeTime = zapcore.ISO8601TimeEncoder
	encoder := zapcore.NewJSONEncoder(c)
	if f.LogFormat == "text" {
		c.EncodeLevel = zapcore.CapitalLevelEncoder
		c.EncodeDuration = zapcore.StringDurationEncoder
		c.CallerKey = zapcore.OmitKey
		encoder = zapcore.NewConsoleEncoder(c)
	}
	return zap.New(zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(w)), zapcore.InfoLevel))
}

// isTerminal says whether a person watches w.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// lateWriter lets the logger write through the progress bar once there is one.
type lateWriter struct {
	io.Writer
	bar *cliprogress.Progress
}

func (w *lateWriter) Write(p []byte) (int, error) {
	if w.bar != nil {
		return w.bar.Write(p)
	}
	return w.Writer.Write(p)
}
