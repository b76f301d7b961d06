package realparts_test

import (
	"net/http"
	"os/exec"
	"testing"

	"github.com/handover-dev/handover/internal/realparts"
)

func TestDynamoDBAnswers(t *testing.T) { answers(t, realparts.DynamoDB(t)) }

func TestMotoAnswers(t *testing.T) { answers(t, realparts.Moto(t)) }

func TestRIEListens(t *testing.T) {
	address := realparts.FreeAddress(t)
	ended := realparts.Start(t, exec.Command(realparts.RIE(t),
		"--runtime-interface-emulator-address", address, "--runtime-api-address", realparts.FreeAddress(t), "/bin/true"))
	realparts.WaitUntilListening(t, address, ended)
}

func answers(t *testing.T, endpoint string) {
	t.Helper()
	response, err := http.Get(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
}
