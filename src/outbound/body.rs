//! Reads response bodies up to a limit.

use reqwest::Response;

/// A response body.
#[derive(Debug)]
pub struct Body {
    /// Its beginning, up to the limit.
    pub bytes: Vec<u8>,
    /// Whether it is complete.
    pub is_whole: bool,
}

impl Body {
    /// Reads at most `at_most` bytes of a response, and ignores the rest.
    ///
    /// # Errors
    /// The connection was lost.
    pub async fn read(mut answer: Response, at_most: usize) -> Result<Self, reqwest::Error> {
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            let room = at_most - bytes.len();
            bytes.extend(chunk.iter().take(room));
            if chunk.len() > room {
                return Ok(Self { bytes, is_whole: false });
            }
        }
        Ok(Self { bytes, is_whole: true })
    }

    /// The body as text; invalid UTF-8 is replaced by `�`.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(length: usize, at_most: usize) -> (usize, bool) {
        let answer = axum::http::Response::new(vec![b'x'; length]);
        let body = Body::read(answer.into(), at_most).await.unwrap();
        (body.bytes.len(), body.is_whole)
    }

    #[tokio::test]
    async fn as_much_is_read_as_was_asked_for() {
        assert_eq!(read(0, 0).await, (0, true));
        assert_eq!(read(10, 10).await, (10, true));
        assert_eq!(read(11, 10).await, (10, false));
    }
}
