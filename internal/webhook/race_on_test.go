//go:build race

package webhook_test

// raceDetector makes programs allocate more.
const raceDetector = true
