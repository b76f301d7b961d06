// Command plain is package plain as a Lambda function.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"os"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/handover-dev/handover/internal/benchmark/testdata/plain"
)

func main() {
	ctx := context.Background()
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		log.Fatal(err)
	}
	name := os.Getenv("TERRA_SECRET_ARN")
	out, err := secretsmanager.NewFromConfig(cfg).GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &name})
	if err != nil {
		log.Fatal(err)
	}
	var secret struct {
		SigningSecrets []string `json:"signing_secrets"`
	}
	if err := json.Unmarshal([]byte(*out.SecretString), &secret); err != nil {
		log.Fatal(err)
	}
	known, err := lru.New[string, string](20_000)
	if err != nil {
		log.Fatal(err)
	}
	h := &plain.Handler{
		Secret: secret.SigningSecrets[0], Known: known, Athlete: athlete, Log: slog.New(slog.NewJSONHandler(os.Stderr, nil)),
		DynamoDB: dynamodb.NewFromConfig(cfg), Table: os.Getenv("ACCOUNTS_TABLE"),
		SNS: sns.NewFromConfig(cfg), Topic: os.Getenv("TRANSFERS_TOPIC_ARN"),
	}
	lambda.Start(h.Handle)
}

func athlete(ctx context.Context, userID string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, os.Getenv("TERRA_API_URL")+"/athlete?to_webhook=false&user_id="+userID, nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("GET /athlete: %s: %w", response.Status, err)
	}
	var answer struct {
		Athlete struct {
			ProviderUserID string `json:"provider_user_id"`
		} `json:"athlete"`
	}
	err = json.Unmarshal(body, &answer)
	return answer.Athlete.ProviderUserID, err
}
