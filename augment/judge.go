package augment

import (
	"errors"
	"fmt"

	"mocostream/ingest"
	"mocostream/loader"
)

// judge tells a bad image, which is its sample's end alone, from an error that is the run's.
func judge(j *job, err error, keepImage bool) {
	var bad *BadImage
	switch {
	case err == nil:
	case errors.As(err, &bad):
		dead := loader.NewDeadLetter(&j.sample, bad.Reason, bad.Detail, keepImage)
		j.dead = &dead
	default:
		j.err = fmt.Errorf("render sample %d, %q: %w", j.sample.Position, j.sample.Key(), err)
	}
}

// unlessRefused renders a sample that may be touched.
func unlessRefused(j *job, refused func(ingest.ID) string, render func() error) error {
	if refused != nil {
		if why := refused(j.id); why != "" {
			return refuse(ReasonQuarantined, "%s", why)
		}
	}
	return unlessProblem(j, render)
}

// unlessProblem renders a sample that its source has an image for.
func unlessProblem(j *job, render func() error) error {
	if problem := j.sample.Problem(); problem != "" {
		return refuse(ReasonUnavailable, "%s", problem)
	}
	return render()
}
