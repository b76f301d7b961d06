// Command floor is package floor as a Lambda function. It is given its secret: it has no AWS client.
package main

import (
	"os"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/handover-dev/handover/internal/benchmark/testdata/floor"
)

func main() {
	lambda.Start(&floor.Handler{Secret: []byte(os.Getenv("SIGNING_SECRET"))})
}
